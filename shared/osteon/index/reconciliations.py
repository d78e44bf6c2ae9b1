"""Reconciliations in the index (`osteon.reconciliation.port`), and identifiers that resources had before them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Boolean, Column, LargeBinary, Row, SmallInteger, Table, Text, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.errors import ResourceNotFound
from osteon.contracts.reconciliation import Reconciliation
from osteon.dicom.identity import format_public_id, parse_public_id, public_id
from osteon.dicom.models import Level
from osteon.errors import Invalid
from osteon.index import tables
from osteon.index.database import Database

reconciliations: Final = Table(
    "reconciliations", tables.metadata,
    Column("reconciliation_id", tables.Bytewise, primary_key=True),
    Column("study_uid", tables.Bytewise, nullable=False, index=True),
    Column("active", Boolean, nullable=False),
    Column("body", Text, nullable=False),
)  # fmt: skip
"""`body`: a `Reconciliation` in JSON."""

former_ids: Final = Table(
    "former_ids", tables.metadata,
    Column("public_id", LargeBinary, primary_key=True),
    Column("level", SmallInteger, nullable=False),
    Column("sop_instance_uid", tables.Bytewise, nullable=False),
)  # fmt: skip
"""Public identifiers that resources had before: what holds the named instance at that level now has another one."""

_r, _f = reconciliations.c, former_ids.c
_i, _s, _t, _p, _c = (table.c for table in (tables.instances, tables.series, tables.studies, tables.packs,
                                            tables.conflicts))  # fmt: skip


class SqlReconciliations:
    """Implements `osteon.reconciliation.port.Reconciliations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, reconciliation: Reconciliation) -> None:
        """See `Reconciliations`."""
        values = {"study_uid": reconciliation.study_uid, "active": reconciliation.active,
                  "body": reconciliation.model_dump_json()}  # fmt: skip
        insert = self._database.dialect.insert(reconciliations).values(
            reconciliation_id=reconciliation.reconciliation_id, **values
        )
        await self._database.execute(insert.on_conflict_do_update(index_elements=["reconciliation_id"], set_=values))

    async def get(self, reconciliation_id: str) -> Reconciliation:
        """See `Reconciliations`."""
        for found in await self._read(_r.reconciliation_id == reconciliation_id):
            return found
        raise ResourceNotFound(f"there is no reconciliation {reconciliation_id[:80]!r}")

    async def known(self, reconciliation_ids: Sequence[str]) -> set[str]:
        """See `Reconciliations`."""
        among = self._database.dialect.among(_r.reconciliation_id, reconciliation_ids)
        async with self._database.read() as connection:
            return set(await connection.scalars(select(_r.reconciliation_id).where(among)))

    async def page(
        self, *, after: str = "", limit: int = 100, study_uid: str | None = None, active: bool | None = None
    ) -> Sequence[Reconciliation]:
        """See `Reconciliations`."""
        clauses = [_r.reconciliation_id > after]
        if study_uid is not None:
            clauses.append(_r.study_uid == study_uid)
        if active is not None:
            clauses.append(_r.active == active)
        return await self._read(*clauses, limit=max(limit, 0))

    async def of_studies(self, study_uids: Sequence[str]) -> Mapping[str, Sequence[Reconciliation]]:
        """See `Reconciliations`."""
        found: dict[str, list[Reconciliation]] = defaultdict(list)
        for each in await self._read(self._database.dialect.among(_r.study_uid, study_uids), _r.active):
            found[each.study_uid].append(each)
        return found

    async def _read(self, *clauses: Any, limit: int | None = None) -> list[Reconciliation]:
        chosen = select(_r.body).where(*clauses).order_by(_r.reconciliation_id).limit(limit)
        async with self._database.read() as connection:
            return [Reconciliation.model_validate_json(body) for body in await connection.scalars(chosen)]


async def sources_of(connection: AsyncConnection, study: int) -> set[str]:
    """Return the identifiers of a study's row as its instances name it: those that they were received with."""
    below = select(_t.patient_id, _t.study_instance_uid).join_from(tables.instances, tables.series, _i.series == _s.id)
    below = below.join(tables.studies, _s.study == _t.id).join(tables.packs, _i.pack == _p.id).where(_t.id == study)
    as_received = below.where(_p.reconciled_by.is_(None))
    served = tables.packs.alias()
    aside = (
        select(_c.patient_id, _c.study_uid)
        .join_from(tables.conflicts, tables.instances, _c.instance == _i.id)
        .join(tables.series, _i.series == _s.id)
        .join(served, _i.pack == served.c.id)
        .join(tables.packs, _c.pack == _p.id)
        .where(_s.study == study, served.c.reconciled_by.is_not(None), _p.reconciled_by.is_(None))
    )
    found = await connection.execute(union(as_received, aside))
    return {public_id(patient or "", study_uid) for patient, study_uid in found}


def former_rows(served: Row[Any], gone: Sequence[tuple[Level, bytes]], new_id: bytes) -> list[dict[str, Any]]:
    """Return rows of `former_ids` for an instance that is served under another identifier, and what it left empty."""
    if served.public_id == new_id:
        return []
    before = [(Level.IMAGE, bytes(served.public_id)), *gone]
    return [
        {"public_id": each, "level": level.depth, "sop_instance_uid": served.sop_instance_uid} for level, each in before
    ]


async def current_id(connection: AsyncConnection, level: Level, former: str) -> str:
    """Return the identifier that a resource has now; raises `ResourceNotFound` when it never had `former`."""
    try:
        digest = parse_public_id(former)
    except Invalid as error:
        raise ResourceNotFound(str(error)) from None
    joined = tables.instances.join(tables.series, _i.series == _s.id).join(tables.studies, _s.study == _t.id)
    joined = joined.join(tables.patients, _t.patient == tables.patients.c.id)
    joined = joined.join(former_ids, _f.sop_instance_uid == _i.sop_instance_uid)
    chosen = select(tables.TABLE_OF[level].c.public_id).select_from(joined)
    found = await connection.scalar(chosen.where(_f.public_id == digest, _f.level == level.depth))
    if found is None:
        raise ResourceNotFound(f"no {level.lower()} had the identifier {former[:80]!r}")
    return format_public_id(found)
