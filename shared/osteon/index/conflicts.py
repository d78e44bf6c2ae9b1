"""Conflicts, comparisons of their versions and decisions on them: reading, and noting what was found or decided."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.conflicts import Conflict, Version, VersionComparison
from osteon.archive.pack_records import InstanceState, StoredPack
from osteon.archive.resources import Location
from osteon.contracts.conflicts import ConflictDecided
from osteon.contracts.packs import Origin
from osteon.dicom.identity import Identity
from osteon.index import tables
from osteon.index.batch import Batch, BatchMember
from osteon.index.change_log import ChangeSet, write_log
from osteon.index.dialect import Dialect
from osteon.index.locations import identity_of, location, of_instances
from osteon.index.uids import Uids
from osteon.index.version_selection import drop_conflict, lock_patients_of, read_aside, select_versions

_c, _i, _p, _d = tables.conflicts.c, tables.instances.c, tables.packs.c, tables.decisions.c
_HOW = (_p.received, _p.origin, _p.calling_aet, _p.remote_host, _p.reconciled_by)


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
    chosen = select(tables.conflicts, _p.pack_id, _p.sidecar_offset, *_HOW, _i.sop_instance_uid)
    chosen = chosen.join_from(tables.conflicts, tables.instances, _c.instance == _i.id)
    return chosen.join(tables.packs, _c.pack == _p.id).where(*clauses)


def _aside(row: Row[Any], texts: dict[int, str]) -> Location:
    uid = (row.patient_id, row.study_uid, row.series_uid, row.sop_instance_uid)
    return location(row, Identity(*uid, texts[row.sop_class]), row, texts)


def _version(row: Row[Any], where: Location) -> Version:
    origin = Origin(row.origin)
    return Version(where, row.pack_id, row.received, origin, row.calling_aet, row.remote_host, row.reconciled_by or "")


async def versions(
    connection: AsyncConnection, dialect: Dialect, uids: Uids, sop_uids: Sequence[str]
) -> dict[str, list[Version]]:
    """Return all versions of instances by their UIDs: the served one, that which it was decided against, the others."""
    chosen = of_instances().add_columns(*_HOW).where(dialect.among(_i.sop_instance_uid, sop_uids))
    served = list(await connection.execute(chosen))
    aside = list(await connection.execute(_asides(dialect.among(_c.instance, [row.id for row in served]))))
    texts = await uids.texts(connection, {n for row in (*served, *aside) for n in (row.sop_class, row.transfer_syntax)})
    found = {
        row.sop_instance_uid: [_version(row, location(row, identity_of(row, texts[row.sop_class]), row, texts))]
        for row in served
    }
    decided: Select[Any] = select(_d.sop_instance_uid, _d.other).order_by(_d.decision_id)
    among = dialect.among(_d.sop_instance_uid, list(found) if aside else [])
    others = {row.sop_instance_uid: row.other for row in await connection.execute(decided.where(among))}
    aside.sort(key=lambda row: row.sha256 != others.get(row.sop_instance_uid))
    for row in aside:
        found[row.sop_instance_uid].append(_version(row, _aside(row, texts)))
    return found


async def note_decisions(batch: Batch, decisions: Sequence[ConflictDecided]) -> None:
    """Note decisions, which versions that are indexed later follow."""
    insert = batch.dialect.insert(tables.decisions).on_conflict_do_nothing(index_elements=["decision_id"])
    await batch.connection.execute(insert, [_decision_row(decision) for decision in decisions])


def _decision_row(decision: ConflictDecided) -> dict[str, Any]:
    return {
        "decision_id": decision.decision_id, "sop_instance_uid": decision.sop_instance_uid,
        "kept": bytes.fromhex(decision.kept), "other": bytes.fromhex(decision.other), "decided": decision.decided_at,
    }  # fmt: skip


async def decide(batch: Batch, decision: ConflictDecided, version: StoredPack | None) -> None:
    """Note a decision and follow it."""
    await note_decisions(batch, [decision])
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


async def note_comparisons(batch: Batch, pack: StoredPack, found: Sequence[VersionComparison]) -> None:
    """Drop the conflicts that are duplicates, mark the others as compared, and count the members of `pack` again."""
    pack_id = pack.facts.pack_id
    pack_row = await batch.connection.scalar(select(_p.id).where(_p.pack_id == pack_id))
    if pack_row is None:
        return
    uids = list({entry.identity.sop_uid for entry in pack.instances})
    chosen: Select[Any] = select(_i.id, _i.sop_instance_uid, _i.sha256, _i.pack, _i.byte_offset).where(
        batch.dialect.among(_i.sop_instance_uid, uids)
    )
    await lock_patients_of(batch, [row.id for row in await batch.connection.execute(chosen)])
    served: dict[str, Row[Any]] = {row.sop_instance_uid: row for row in await batch.connection.execute(chosen)}
    aside = await read_aside(batch, [row.id for row in served.values()])
    change_set = ChangeSet()
    for each in found:
        if row := served.get(each.sop_instance_uid):
            await _note(batch, each, row.sha256, aside[row.id], change_set)
    await _recount(batch, pack_row, pack, served, aside, change_set=change_set)
    if batch.newest:
        members = [BatchMember(pack_row, pack_id, e, instance=served[e.identity.sop_uid].id) for e in pack.instances]
        candidates = {(member.instance, member.entry.sha256): member for member in members}
        await select_versions(batch, {member.instance for member in members}, candidates, change_set)
    if change_set != ChangeSet():
        await write_log(batch.connection, batch.dialect, batch.now, change_set)


async def _note(
    batch: Batch, found: VersionComparison, served: bytes, aside: list[Row[Any]], change_set: ChangeSet
) -> None:
    """Note one comparison; `served` and `aside` are the versions that there are now."""
    row = next((row for row in aside if row.sha256 == found.sha256 and row.resolved is None), None)
    if row is None:
        return  # another process was faster, or a person
    if found.same_as is None:
        await batch.connection.execute(update(tables.conflicts).where(_c.id == row.id).values(compared=batch.now))
    elif found.same_as in (served, *(other.sha256 for other in aside)):
        await drop_conflict(batch, row, change_set)
        aside.remove(row)


async def _recount(
    batch: Batch,
    pack_row: int,
    pack: StoredPack,
    served: Mapping[str, Row[Any]],
    aside: Mapping[int, list[Row[Any]]],
    *,
    change_set: ChangeSet,
) -> None:
    """Count a pack's members by the rows that there are now: it may hold further copies of what was dropped."""
    contested = {(row.pack, row.byte_offset) for rows in aside.values() for row in rows}
    states: Counter[InstanceState] = Counter()
    others: dict[int, bool] = {}
    for entry in pack.instances:
        row = served[entry.identity.sop_uid]
        if (row.pack, row.byte_offset) == (pack_row, entry.offset):
            states[InstanceState.STORED] += 1
            continue
        conflict = (pack_row, entry.offset) in contested
        states[InstanceState.CONFLICT if conflict else InstanceState.DUPLICATE] += 1
        others[row.id] = others.get(row.id, False) or conflict
    counts = {
        "stored": states[InstanceState.STORED],
        "duplicates": states[InstanceState.DUPLICATE],
        "conflicts": states[InstanceState.CONFLICT],
    }
    was_useful = await batch.connection.scalar(select((_p.stored > 0) | (_p.conflicts > 0)).where(_p.id == pack_row))
    change_set.packs += bool(counts["stored"] or counts["conflicts"]) - bool(was_useful)
    await batch.connection.execute(update(tables.packs).where(_p.id == pack_row).values(counts))
    await batch.connection.execute(delete(tables.pack_duplicates).where(tables.pack_duplicates.c.pack == pack_row))
    if others:
        rows = [{"pack": pack_row, "instance": row, "conflict": conflict} for row, conflict in sorted(others.items())]
        await batch.connection.execute(insert(tables.pack_duplicates), rows)
