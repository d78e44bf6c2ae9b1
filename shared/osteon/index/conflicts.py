"""Conflicts and the decisions on them: reading, and noting a decision."""

from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.conflicts import Conflict, Version
from osteon.archive.pack_records import StoredPack
from osteon.archive.resources import Location
from osteon.contracts.conflicts import ConflictDecided
from osteon.contracts.packs import Origin
from osteon.dicom.identity import Identity
from osteon.index import tables
from osteon.index.batch import Batch, BatchMember
from osteon.index.change_log import ChangeSet, write_log
from osteon.index.locations import identity_of, location, of_instances
from osteon.index.uids import Uids
from osteon.index.version_selection import select_versions

_c, _i, _p = tables.conflicts.c, tables.instances.c, tables.packs.c
_HOW = (_p.received, _p.origin, _p.calling_aet, _p.remote_host)


async def conflicts(
    connection: AsyncConnection, uids: Uids, limit: int, *clauses: ColumnElement[bool]
) -> list[Conflict]:
    """Return the conflicts that fulfil conditions on their table, by growing id."""
    rows = list(await connection.execute(_asides(*clauses).order_by(_c.id).limit(max(limit, 0))))
    chosen = of_instances().add_columns(*_HOW).where(_i.id.in_({row.instance for row in rows}))
    served = {row.id: row for row in await connection.execute(chosen)}
    numbers = {n for row in (*rows, *served.values()) for n in (row.sop_class, row.transfer_syntax)}
    texts = await uids.texts(connection, numbers)
    versions = {
        row_id: _version(row, location(row, identity_of(row, texts[row.sop_class]), row, texts))
        for row_id, row in served.items()
    }
    return [
        Conflict(row.id, versions[row.instance], _version(row, _aside(row, texts)), row.detected, row.resolved)
        for row in rows
    ]


def clauses_of(after: int, study_uid: str | None, resolved: bool | None) -> list[ColumnElement[bool]]:
    """Return the conditions of a list; a study is that of either version."""
    clauses = [_c.id > after]
    if resolved is not None:
        clauses.append(_c.resolved.is_not(None) if resolved else _c.resolved.is_(None))
    if study_uid is not None:
        served = select(_i.id).join(tables.series, _i.series == tables.series.c.id)
        served = served.join(tables.studies, tables.series.c.study == tables.studies.c.id)
        of_study = served.where(tables.studies.c.study_instance_uid == study_uid)
        clauses.append((_c.study_uid == study_uid) | _c.instance.in_(of_study))
    return clauses


async def asides(connection: AsyncConnection, uids: Uids, *clauses: ColumnElement[bool]) -> list[Location]:
    """Return where versions are that are not served, in the order of their bytes."""
    rows = list(await connection.execute(_asides(*clauses).order_by(_c.pack, _c.byte_offset)))
    texts = await uids.texts(connection, {n for row in rows for n in (row.sop_class, row.transfer_syntax)})
    return [_aside(row, texts) for row in rows]


def _asides(*clauses: ColumnElement[bool]) -> Select[Any]:
    chosen = select(tables.conflicts, _p.pack_id, *_HOW, _i.sop_instance_uid)
    chosen = chosen.join_from(tables.conflicts, tables.instances, _c.instance == _i.id)
    return chosen.join(tables.packs, _c.pack == _p.id).where(*clauses)


def _aside(row: Row[Any], texts: dict[int, str]) -> Location:
    uid = (row.patient_id, row.study_uid, row.series_uid, row.sop_instance_uid)
    return location(row, Identity(*uid, texts[row.sop_class]), row, texts)


def _version(row: Row[Any], where: Location) -> Version:
    return Version(where, row.pack_id, row.received, Origin(row.origin), row.calling_aet, row.remote_host)


async def decide(batch: Batch, decision: ConflictDecided, version: StoredPack | None) -> None:
    """Note a decision and follow it."""
    insert = batch.dialect.insert(tables.decisions).on_conflict_do_nothing(index_elements=["decision_id"])
    row = {
        "decision_id": decision.decision_id, "sop_instance_uid": decision.sop_instance_uid,
        "kept": bytes.fromhex(decision.kept), "other": bytes.fromhex(decision.other), "decided": decision.decided_at,
    }  # fmt: skip
    await batch.connection.execute(insert, [row])
    instance = await batch.connection.scalar(select(_i.id).where(_i.sop_instance_uid == decision.sop_instance_uid))
    if instance is None:
        return
    change_set = ChangeSet()
    await select_versions(batch, {instance}, await _candidates(batch, instance, version), change_set)
    if change_set != ChangeSet():
        await write_log(batch.connection, batch.dialect, batch.now, change_set)


async def _candidates(batch: Batch, instance: int, version: StoredPack | None) -> dict[tuple[int, bytes], BatchMember]:
    if version is None:
        return {}
    pack_id = version.facts.pack_id
    pack = await batch.connection.scalar(select(_p.id).where(_p.pack_id == pack_id))
    if pack is None:
        return {}
    return {
        (instance, entry.sha256): BatchMember(pack, pack_id, entry, instance=instance) for entry in version.instances
    }
