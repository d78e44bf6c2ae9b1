"""Where the bytes of instances are: scopes and the outcome of packs."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.pack_records import InstanceState
from osteon.archive.resources import InstanceScope, Location
from osteon.byte_caches import cached
from osteon.contracts.packs import Origin, SidecarPlace, StoredPackFacts
from osteon.dicom.identity import Identity, format_public_id, parse_public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.database import Database
from osteon.index.dialect import Dialect
from osteon.index.identifiers import find_row_any_level
from osteon.index.uids import Uids

_PACKS: Final = 200
_PAGE: Final = 1000
_ANY_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)

_i, _s, _t, _p = tables.instances.c, tables.series.c, tables.studies.c, tables.packs.c
PACK_COLUMNS: Final = (_p.pack_id, _p.study_uid, _p.series_uid, _p.sidecar_offset)
"""What `pack_places` needs, in its order."""
LOCATION_COLUMNS: Final = (
    _i.id, _i.pack, _i.byte_offset, _i.byte_length, _i.sop_class, _i.transfer_syntax, _i.public_id, _i.sha256, _i.xxh3,
    _i.sop_instance_uid, _s.series_instance_uid, _t.study_instance_uid, _t.patient_id, *PACK_COLUMNS,
)  # fmt: skip


def location(row: Row[Any], identity: Identity, pack: Row[Any], texts: Mapping[int, str]) -> Location:
    """Make a location of an instance's or conflict's row and its pack's."""
    key, sidecar = pack_places(pack.pack_id, pack.study_uid, pack.series_uid, pack.sidecar_offset)
    return Location(
        identity=identity,
        transfer_syntax_uid=texts[row.transfer_syntax],
        key=key,
        sidecar=sidecar,
        offset=row.byte_offset,
        length=row.byte_length,
        sha256=row.sha256,
        public_id=format_public_id(row.public_id),
        xxh3=row.xxh3 or b"",
    )


@cached("pack_keys", entries=2048, entry_bytes=1500)
def pack_places(pack_id: str, study_uid: str, series_uid: str, sidecar_offset: int | None) -> tuple[str, SidecarPlace]:
    """Return the key of a pack and where its sidecar is, as the contract says it."""
    facts = StoredPackFacts(
        correlation_id="", pack_id=pack_id, study_uid=study_uid, series_uid=series_uid, origin=Origin.DIMSE,
        received_at=_ANY_TIME, instances=1, size=0, sidecar_offset=sidecar_offset,
    )  # fmt: skip
    return facts.key, facts.sidecar


async def locate(database: Database, uids: Uids, scope: InstanceScope) -> AsyncIterator[Location]:
    """Iterate over the instances of a scope by pack and offset; a transaction a page, none while the caller works."""
    clauses = await _clauses(database, scope)
    if 0 < len(scope.sop_uids) <= _PAGE:
        chosen = of_instances().where(*clauses).order_by(_i.pack, _i.byte_offset, _i.id)
        async with database.read() as connection:
            named = await locations_of(connection, uids, list(await connection.execute(chosen)))
        for each in named:
            yield each
        return
    packs: list[int] = []
    while True:
        last_pack, packs, after = packs[-1] if packs else 0, [], (0, -1, 0)
        while True:
            async with database.read() as connection:
                packs = packs or await _packs(connection, clauses, last_pack)
                found = list(await connection.execute(_page(clauses, packs, after))) if packs else []
                locations = await locations_of(connection, uids, found)
            for each in locations:
                yield each
            if len(found) < _PAGE:
                break
            after = (found[-1].pack, found[-1].byte_offset, found[-1].id)
        if len(packs) < _PACKS:
            return


async def of_ids(connection: AsyncConnection, dialect: Dialect, uids: Uids, ids: Sequence[int]) -> list[Location]:
    """Return where the instances with these ids are, pack by pack in the order of their bytes."""
    chosen = of_instances().where(dialect.among(_i.id, ids)).order_by(_i.pack, _i.byte_offset, _i.id)
    return await locations_of(connection, uids, list(await connection.execute(chosen)))


async def representatives(
    connection: AsyncConnection, dialect: Dialect, uids: Uids, level: Level, public_ids: Sequence[str]
) -> dict[str, Location]:
    """Return the first instance of the first series of the first study of each resource."""
    digests = [parse_public_id(public_id) for public_id in public_ids]
    if level is Level.IMAGE:
        found = list(await connection.execute(of_instances().where(_i.public_id.in_(digests))))
        return {at.public_id: at for at in await locations_of(connection, uids, found)}
    table = tables.TABLE_OF[level]
    first: ColumnElement[int] = table.c.id
    for lower in list(Level)[level.depth + 1 :]:
        below = tables.TABLE_OF[lower].alias()
        # The sum keeps the database from walking over all rows in the order of their ids.
        lowest = select(func.min(below.c.id + 0)).where(below.c[tables.PARENT_OF[lower]] == first)
        first = lowest.correlate(table).scalar_subquery()
    chosen = select(table.c.public_id, first.label("instance")).where(table.c.public_id.in_(digests))
    owners = {row.instance: format_public_id(row.public_id) for row in await connection.execute(chosen)}
    found = list(await connection.execute(of_instances().where(dialect.among(_i.id, list(owners)))))
    located = await locations_of(connection, uids, found)
    return {owners[row.id]: at for row, at in zip(found, located, strict=True)}


async def outcome(connection: AsyncConnection, pack_id: str) -> dict[str, InstanceState]:
    """Return the state of each instance of a pack; a conflict counts more than the rest of its UID's members."""
    pack_duplicates = tables.pack_duplicates.c
    pack = select(_p.id).where(_p.pack_id == pack_id).scalar_subquery()
    stored = await connection.execute(select(_i.sop_instance_uid).where(_i.pack == pack))
    states = {row.sop_instance_uid: InstanceState.STORED for row in stored}
    others = await connection.execute(
        select(_i.sop_instance_uid, pack_duplicates.conflict)
        .join_from(tables.pack_duplicates, tables.instances, pack_duplicates.instance == _i.id)
        .where(pack_duplicates.pack == pack)
    )
    for uid, conflict in others:
        if conflict:
            states[uid] = InstanceState.CONFLICT
        else:
            states.setdefault(uid, InstanceState.DUPLICATE)
    return states


async def _clauses(database: Database, scope: InstanceScope) -> list[ColumnElement[bool]]:
    clauses: list[ColumnElement[bool]] = []
    if scope.study_uid is not None:
        clauses.append(_t.study_instance_uid == scope.study_uid)
    if scope.series_uid is not None:
        clauses.append(_s.series_instance_uid == scope.series_uid)
    if scope.sop_uids:
        clauses.append(database.dialect.among(_i.sop_instance_uid, scope.sop_uids))
    if scope.public_id is not None:
        async with database.read() as connection:
            level, row = await find_row_any_level(connection, scope.public_id)
        columns = {Level.PATIENT: _t.patient, Level.STUDY: _s.study, Level.SERIES: _i.series, Level.IMAGE: _i.id}
        clauses.append(columns[level] == row)
    return clauses


async def _packs(connection: AsyncConnection, clauses: list[ColumnElement[bool]], last: int) -> list[int]:
    """Return the next packs that have instances of the scope."""
    if clauses:
        query = select(_i.pack).select_from(_above(tables.instances)).where(*clauses, _i.pack > last).distinct()
        ordered = query.order_by(_i.pack)
    else:
        ordered = select(_p.id).where(_p.id > last).order_by(_p.id)
    return list(await connection.scalars(ordered.limit(_PACKS)))


def _page(clauses: Iterable[ColumnElement[bool]], packs: list[int], after: tuple[int, int, int]) -> Select[Any]:
    order = (_i.pack, _i.byte_offset, _i.id)
    chosen = of_instances().where(*clauses, _i.pack.in_(packs), tuple_(*order) > after)
    return chosen.order_by(*order).limit(_PAGE)


def _above(joined: Any) -> Any:
    return joined.join(tables.series, _i.series == _s.id).join(tables.studies, _s.study == _t.id)


def of_instances() -> Select[Any]:
    """Return the query for the columns that a location needs."""
    return select(*LOCATION_COLUMNS).select_from(_above(tables.instances).join(tables.packs, _i.pack == _p.id))


async def locations_of(connection: AsyncConnection, uids: Uids, rows: list[Row[Any]]) -> list[Location]:
    """Return the locations of rows of `of_instances`."""
    texts = await uids.texts(connection, {n for row in rows for n in (row.sop_class, row.transfer_syntax)})
    return [location(row, identity_of(row, texts[row.sop_class]), row, texts) for row in rows]


def identity_of(row: Row[Any], sop_class: str) -> Identity:
    """Return the identity of an instance's row."""
    return Identity(
        row.patient_id or "", row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid, sop_class
    )
