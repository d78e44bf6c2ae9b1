"""User data of resources in the index (`osteon.user_data.port.UserDataStore`)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Table, and_, delete, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.changes import ChangeType
from osteon.contracts.user_data import Attachment, MetadataValue, UserDataRecord
from osteon.dicom.identity import format_public_id, parse_public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.change_log import CODES
from osteon.index.database import Database
from osteon.index.identifiers import find_row
from osteon.index.reconciliations import former_ids
from osteon.index.user_data_tables import attachments, labels, resource_metadata, user_data
from osteon.index.values import text_key
from osteon.user_data.change import user_data_of
from osteon.user_data.port import UserData

_u, _l, _a, _f = user_data.c, labels.c, attachments.c, former_ids.c
_INSTANCES: Final = (
    tables.instances.join(tables.series, tables.instances.c.series == tables.series.c.id)
    .join(tables.studies, tables.series.c.study == tables.studies.c.id)
    .join(tables.patients, tables.studies.c.patient == tables.patients.c.id)
)
"""Instances with all that is above them."""
_ATTACHMENT: Final = tuple(Attachment.model_fields)
_Rows = Mapping[str | int, Mapping[str, Any]]
_ROWS: Final[tuple[tuple[Table, str, Callable[[UserData], _Rows]], ...]] = (
    (labels, "label", lambda data: {label: {"label": label} for label in data.labels}),
    (
        resource_metadata,
        "code",
        lambda data: {
            code: {"code": code, "key": text_key(each.value), **each.model_dump()}
            for code, each in data.metadata.items()
        },
    ),
    (
        attachments,
        "code",
        lambda data: {code: {"code": code, **each.model_dump()} for code, each in data.attachments.items()},
    ),
)
"""The tables besides `user_data`: what tells the rows of one resource apart, and the rows."""


class SqlUserData:
    """Implements `osteon.user_data.port.UserDataStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, level: Level, public_id: str) -> UserData:
        """See `UserDataStore`."""
        async with self._database.read() as connection:
            await find_row(connection, level, public_id)
            found = await self._read(connection, level, [public_id])
        return found.get(public_id, UserData())

    async def read_many(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, UserData]:
        """See `UserDataStore`."""
        async with self._database.read() as connection:
            return await self._read(connection, level, public_ids)

    async def _read(self, connection: AsyncConnection, level: Level, public_ids: Sequence[str]) -> dict[str, UserData]:
        digests = [parse_public_id(each) for each in public_ids]
        chosen = select(user_data).where(_u.level == level.depth, _u.public_id.in_(digests))
        found = (await connection.execute(chosen)).all()
        digests = [row.public_id for row in found]
        of_labels, of_metadata, of_attachments = [
            await _by_resource(connection, table, level, digests) for table in (labels, resource_metadata, attachments)
        ]
        return {
            format_public_id(row.public_id): UserData(
                frozenset(each.label for each in of_labels[row.public_id]),
                {
                    each.code: MetadataValue(value=each.value, revision=each.revision)
                    for each in of_metadata[row.public_id]
                },
                {
                    each.code: Attachment(**{name: getattr(each, name) for name in _ATTACHMENT})
                    for each in of_attachments[row.public_id]
                },
                row.protected,
                row.revision,
                row.record,
            )
            for row in found
        }

    async def replace(self, old: UserData, record: UserDataRecord) -> bool:
        """See `UserDataStore`."""

        async def work(connection: AsyncConnection) -> bool:
            await find_row(connection, record.level, record.public_id)
            if not await self._claim(connection, record, _u.record == old.record):
                return False
            await _write(connection, old, record)
            types = [
                kind
                for kind, before, after in (
                    (ChangeType.UPDATED_METADATA, old.metadata, record.metadata),
                    (ChangeType.UPDATED_ATTACHMENT, old.attachments, record.attachments),
                )
                if before != after
            ]
            await self._log(connection, record, types)
            return True

        return await self._database.write(work)

    async def restore(self, record: UserDataRecord) -> bool:
        """See `UserDataStore`."""

        async def work(connection: AsyncConnection) -> bool:
            before = (await self._read(connection, record.level, [record.public_id])).get(record.public_id, UserData())
            newer = and_(_u.revision == before.revision, _u.revision < record.revision)
            if not await self._claim(connection, record, newer):
                return False
            await _write(connection, before, record)
            return True

        return await self._database.write(work)

    async def renamed(self, study_uid: str) -> Sequence[tuple[Level, str, str]]:
        """See `UserDataStore`."""
        found = []
        async with self._database.read() as connection:
            for level, table in tables.TABLE_OF.items():
                chosen = (
                    select(_f.public_id, table.c.public_id.label("current"))
                    .select_from(
                        _INSTANCES.join(former_ids, _f.sop_instance_uid == tables.instances.c.sop_instance_uid)
                    )
                    .join(user_data, and_(_u.level == _f.level, _u.public_id == _f.public_id))
                    .where(tables.studies.c.study_instance_uid == study_uid, _f.level == level.depth)
                    .where(_f.public_id != table.c.public_id)
                    .distinct()
                )
                found += [
                    (level, format_public_id(former), format_public_id(current))
                    for former, current in await connection.execute(chosen)
                ]
        return found

    async def labels(self) -> Sequence[str]:
        """See `UserDataStore`."""
        present = [
            select(_l.label).join(table, table.c.public_id == _l.public_id).where(_l.level == level.depth)
            for level, table in tables.TABLE_OF.items()
        ]
        async with self._database.read() as connection:
            return sorted(await connection.scalars(union(*present)))

    async def known_objects(self, keys: Sequence[str]) -> set[str]:
        """See `UserDataStore`."""
        among = self._database.dialect.among
        async with self._database.read() as connection:
            return {
                key
                for column in (_u.record, _a.key)
                for key in await connection.scalars(select(column).where(among(column, list(keys))))
            }

    async def _claim(self, connection: AsyncConnection, record: UserDataRecord, where: ColumnElement[bool]) -> bool:
        """Write the row of the resource if it is as `where` says, or absent; nobody else has it until the end."""
        values = {"revision": record.revision, "record": record.key, "protected": record.protected}
        of_resource = _of(user_data, record)
        changed = update(user_data).where(of_resource, where).values(values).returning(_u.revision)
        if (await connection.execute(changed)).first():
            return True
        insert = self._database.dialect.insert(user_data).values({**_names(record), **values})
        made = insert.on_conflict_do_nothing(index_elements=["level", "public_id"]).returning(_u.revision)
        return (await connection.execute(made)).first() is not None

    async def _log(self, connection: AsyncConnection, record: UserDataRecord, types: Iterable[ChangeType]) -> None:
        rows = [{"date": datetime.now(UTC), "type": CODES[kind], **_names(record)} for kind in types]
        if rows:
            await self._database.dialect.lock_changes(connection)
            await connection.execute(tables.changes.insert(), rows)


async def _by_resource(
    connection: AsyncConnection, table: Table, level: Level, digests: Sequence[bytes]
) -> Mapping[bytes, Sequence[Row[Any]]]:
    """Return the rows of a table by the digest of their resource."""
    found: dict[bytes, list[Row[Any]]] = defaultdict(list)
    if digests:
        chosen = select(table).where(table.c.level == level.depth, table.c.public_id.in_(digests))
        for row in await connection.execute(chosen):
            found[row.public_id].append(row)
    return found


async def _write(connection: AsyncConnection, old: UserData, record: UserDataRecord) -> None:
    """Write the rows that differ."""
    new = user_data_of(record)
    for table, column, rows_of in _ROWS:
        before, after = rows_of(old), rows_of(new)
        gone = [key for key, row in before.items() if after.get(key) != row]
        made = [{**_names(record), **row} for key, row in after.items() if before.get(key) != row]
        if gone:
            await connection.execute(delete(table).where(_of(table, record), table.c[column].in_(gone)))
        if made:
            await connection.execute(table.insert(), made)


def _names(record: UserDataRecord) -> dict[str, Any]:
    return {"level": record.level.depth, "public_id": parse_public_id(record.public_id)}


def _of(table: Table, record: UserDataRecord) -> ColumnElement[bool]:
    return and_(table.c.level == record.level.depth, table.c.public_id == parse_public_id(record.public_id))
