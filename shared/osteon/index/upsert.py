"""Writing packs into the index: one transaction a batch, few statements whatever the number of instances.

Order of locks, the same for every writer, so that none waits for another in a circle: packs by pack id, patients by
public identifier (those of all versions of a contested instance too), the change log. The holder of a patient may
change all below it, so sums need no further locks. What another writer inserted first (under another patient) shows in
the insert itself, never in a query before it: the batch then starts again, with that patient among those it locks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select, update

from osteon.archive.pack_records import InstanceState, PackOutcome, StoredPack
from osteon.dicom.identity import parse_public_id
from osteon.index import tables
from osteon.index.batch import Batch, BatchMember, instance_row
from osteon.index.change_log import write_log
from osteon.index.database import RepeatTransaction
from osteon.index.parent_rows import Parents
from osteon.index.values import clean
from osteon.index.version_selection import lock_patients_of, select_versions


async def upsert(batch: Batch, packs: Sequence[StoredPack]) -> list[PackOutcome]:
    """Index packs; returns an outcome for each, in their order."""
    by_id: dict[str, StoredPack] = {}
    for pack in packs:
        by_id.setdefault(pack.facts.pack_id, pack)
    fresh = await _register(batch, by_id.values())
    members = [
        BatchMember(fresh[pack_id], pack_id, entry) for pack_id in sorted(fresh) for entry in by_id[pack_id].instances
    ]
    if fresh:
        await _index(batch, members, list(fresh.values()))
    outcomes = await read_outcomes(batch, by_id)
    return [outcomes[pack.facts.pack_id] for pack in packs]


async def _register(batch: Batch, packs: Iterable[StoredPack]) -> dict[str, int]:
    """Insert the packs' rows; returns the ids of those that are new."""
    rows = [
        {
            "pack_id": facts.pack_id, "study_uid": facts.study_uid, "series_uid": facts.series_uid,
            "origin": facts.origin.value, "calling_aet": clean(facts.calling_aet),
            "remote_host": clean(facts.remote_host), "received": facts.received_at, "size": facts.size,
            "instances": facts.instances, "stored": 0, "duplicates": 0, "conflicts": 0,
            "sidecar_offset": facts.sidecar_offset, "reconciled_by": facts.reconciled_by or None,
        }
        for facts in sorted((pack.facts for pack in packs), key=lambda facts: facts.pack_id)
    ]  # fmt: skip
    if not rows:
        return {}
    insert = batch.dialect.insert(tables.packs).on_conflict_do_nothing(index_elements=["pack_id"])
    added = await batch.connection.execute(insert.returning(tables.packs.c.pack_id, tables.packs.c.id), rows)
    fresh = {row.pack_id: row.id for row in added}
    if known := [row for row in rows if row["pack_id"] not in fresh and row["sidecar_offset"] is not None]:
        await _note_sidecars(batch, known)
    return fresh


async def _note_sidecars(batch: Batch, rows: list[dict[str, Any]]) -> None:
    """Note where the sidecars of known packs are, if that is new: an upgrade had a pack stored once more, with it."""
    c = tables.packs.c
    statement = (
        update(tables.packs)
        .where(c.pack_id == bindparam("known"), c.sidecar_offset.is_(None))
        .values(size=bindparam("new_size"), sidecar_offset=bindparam("new_offset"))
    )
    values = [{"known": r["pack_id"], "new_size": r["size"], "new_offset": r["sidecar_offset"]} for r in rows]
    await batch.connection.execute(statement, values)


async def _index(batch: Batch, members: list[BatchMember], packs: list[int]) -> None:
    known = await _known(batch, {member.entry.identity.sop_uid for member in members})
    first: dict[str, BatchMember] = {}
    for member in members:
        if member.entry.identity.sop_uid not in known:
            first.setdefault(member.entry.identity.sop_uid, member)
    if _is_contested(members, known):
        rows = [instance for instance, _ in known.values()]
        await lock_patients_of(batch, rows, [member.entry.identity for member in members])
    parents = Parents(batch.connection, batch.dialect, batch.now)
    await parents.prepare([member.entry for member in first.values()])
    added = await _insert_instances(batch, first, parents)
    lost = first.keys() - added.keys()
    if lost:
        known |= await _known(batch, lost)
        if _is_contested(first.values(), known):
            raise RepeatTransaction("another writer was first with other bytes")
    for uid, instance in added.items():
        first[uid].state = InstanceState.STORED
        known[uid] = (instance, first[uid].entry.sha256)
    for member in members:
        member.instance, sha256 = known[member.entry.identity.sop_uid]
        if member.state is None:
            same = sha256 == member.entry.sha256
            member.state = InstanceState.DUPLICATE if same else InstanceState.CONFLICT
    stored = [member.entry for member in members if member.state is InstanceState.STORED]
    change_set = await parents.grow(stored, batch.uids)
    contested = {(m.instance, m.entry.sha256): m for m in reversed(members) if m.state is InstanceState.CONFLICT}
    change_set.conflicts = await _set_aside(batch, members)
    change_set.packs = await _count(batch, members, packs)
    if contested:
        await select_versions(batch, {instance for instance, _ in contested}, contested, change_set)
    await write_log(batch.connection, batch.dialect, batch.now, change_set, packs=packs)


def _is_contested(members: Iterable[BatchMember], known: Mapping[str, tuple[int, bytes]]) -> bool:
    """Tell whether there are several versions of an instance."""
    contents = {(uid, sha256) for uid, (_, sha256) in known.items()}
    contents |= {(member.entry.identity.sop_uid, member.entry.sha256) for member in members}
    return len(contents) > len({uid for uid, _ in contents})


async def _known(batch: Batch, sop_uids: Iterable[str]) -> dict[str, tuple[int, bytes]]:
    """Return (row, SHA-256) of the UIDs that have a row."""
    columns = tables.instances.c
    found = await batch.connection.execute(
        select(columns.sop_instance_uid, columns.id, columns.sha256).where(
            batch.dialect.among(columns.sop_instance_uid, list(sop_uids))
        )
    )
    return {uid: (instance, sha256) for uid, instance, sha256 in found}


async def _insert_instances(batch: Batch, members: dict[str, BatchMember], parents: Parents) -> dict[str, int]:
    """Insert rows, in the order of arrival; returns the ids of those that no other writer had inserted meanwhile."""
    rows = [instance_row(batch, member, parents) for member in members.values()]
    if not rows:
        return {}
    columns = tables.instances.c
    insert = batch.dialect.insert(tables.instances).on_conflict_do_nothing(index_elements=["sop_instance_uid"])
    added = await batch.connection.execute(insert.returning(columns.sop_instance_uid, columns.id), rows)
    return {row.sop_instance_uid: row.id for row in added}


async def _set_aside(batch: Batch, members: list[BatchMember]) -> int:
    """Note conflicts and duplicates, which the bytes of a version that is kept aside are too; count the conflicts."""
    others: dict[tuple[int, bytes], BatchMember] = {}
    for member in members:
        if member.state is InstanceState.CONFLICT:
            others.setdefault((member.instance, member.entry.sha256), member)
            member.state = InstanceState.DUPLICATE
    for key in await _insert_conflicts(batch, [others[key] for key in sorted(others)]):
        others[key].state = InstanceState.CONFLICT
    pack_duplicates: dict[tuple[int, int], bool] = {}
    for member in members:
        if member.state is not InstanceState.STORED:
            place = (member.pack, member.instance)
            pack_duplicates[place] = pack_duplicates.get(place, False) or member.state is InstanceState.CONFLICT
    if pack_duplicates:
        rows = [{"pack": pack, "instance": row, "conflict": c} for (pack, row), c in sorted(pack_duplicates.items())]
        await batch.connection.execute(tables.pack_duplicates.insert(), rows)
    return sum(member.state is InstanceState.CONFLICT for member in members)


async def _insert_conflicts(batch: Batch, members: Sequence[BatchMember]) -> list[tuple[int, bytes]]:
    """Insert rows; returns (instance, SHA-256) of those that were not there."""
    if not members:
        return []
    columns = tables.conflicts.c
    insert = batch.dialect.insert(tables.conflicts).on_conflict_do_nothing(index_elements=["instance", "sha256"])
    added = await batch.connection.execute(
        insert.returning(columns.instance, columns.sha256), [_conflict_row(batch, member) for member in members]
    )
    return [(row.instance, row.sha256) for row in added]


def _conflict_row(batch: Batch, member: BatchMember) -> dict[str, object]:
    entry = member.entry
    return {
        "instance": member.instance, "pack": member.pack, "byte_offset": entry.offset, "byte_length": entry.length,
        "detected": batch.now, "sop_class": batch.uids[entry.identity.sop_class_uid],
        "transfer_syntax": batch.uids[entry.transfer_syntax_uid],
        "public_id": parse_public_id(entry.identity.public_instance), "sha256": entry.sha256,
        "xxh3": entry.xxh3 or None,
        "patient_id": clean(entry.identity.patient_id), "study_uid": entry.identity.study_uid,
        "series_uid": entry.identity.series_uid,
    }  # fmt: skip


async def _count(batch: Batch, members: list[BatchMember], packs: list[int]) -> int:
    """Write the outcomes of the packs; returns how many of them are not redundant."""
    counts = Counter((member.pack, member.state) for member in members)
    columns = {"stored": InstanceState.STORED, "duplicates": InstanceState.DUPLICATE}
    columns["conflicts"] = InstanceState.CONFLICT
    statement = (
        update(tables.packs)
        .where(tables.packs.c.id == bindparam("row"))
        .values({column: bindparam(f"n_{column}") for column in columns})
    )
    rows = [{"row": p, **{f"n_{column}": counts[p, state] for column, state in columns.items()}} for p in packs]
    await batch.connection.execute(statement, rows)
    return len({pack for pack, state in counts if state is not InstanceState.DUPLICATE})


async def read_outcomes(batch: Batch, pack_ids: Iterable[str]) -> dict[str, PackOutcome]:
    """Return what became of packs, by their ids."""
    c = tables.packs.c
    found = await batch.connection.execute(
        select(c.pack_id, c.stored, c.duplicates, c.conflicts).where(batch.dialect.among(c.pack_id, list(pack_ids)))
    )
    return {row.pack_id: PackOutcome(*row) for row in found}
