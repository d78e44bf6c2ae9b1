"""Which of several versions of an instance is served, and bringing the rows to it.

The last decision on the instance counts; without one it is the version whose pack was begun first or, where the index
is opened so, last. The order in which packs and decisions are indexed does not matter, so an index made again from the
object store serves the same. A version is newer only once it is known to differ: until then it may be a duplicate.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, delete, select, update

from osteon.dicom.identity import Identity, parse_public_id, public_id
from osteon.index import tables
from osteon.index.batch import Batch, BatchMember
from osteon.index.change_log import ChangeSet
from osteon.index.database import RepeatTransaction
from osteon.index.version_exchange import count_as_duplicate, serve_version

_i, _s, _t, _p, _c = (table.c for table in (tables.instances, tables.series, tables.studies, tables.packs,
                                            tables.conflicts))  # fmt: skip
_SERVED: Final = (
    select(
        tables.instances, _s.study, _s.series_instance_uid, _t.patient, _t.study_instance_uid, _t.patient_id,
        _p.pack_id,
    )
    .join(tables.series, _i.series == _s.id)
    .join(tables.studies, _s.study == _t.id)
    .join(tables.packs, _i.pack == _p.id)
)  # fmt: skip

Candidates = Mapping[tuple[int, bytes], BatchMember]
"""Versions that can be served now, as all of their attributes are at hand: (row of the instance, SHA-256) → member."""


async def select_versions(
    batch: Batch, instances: Collection[int], candidates: Candidates, change_set: ChangeSet
) -> None:
    """Serve the right versions of contested instances, by their rows, and mark what is decided."""
    entries = (member.entry.identity for (instance, _), member in candidates.items() if instance in instances)
    await lock_patients_of(batch, instances, entries)
    served = await batch.connection.execute(_SERVED.where(batch.dialect.among(_i.id, list(instances))))
    rows = list(served)
    aside = await read_aside(batch, instances)
    decisions = await _decisions(batch, [row.sop_instance_uid for row in rows])
    for row in rows:
        for other in [each for each in aside[row.id] if each.sha256 == row.sha256]:
            aside[row.id].remove(other)
            await drop_conflict(batch, other, change_set)
        decided = decisions[row.sop_instance_uid]
        wanted = _to_serve(row, aside[row.id], decided, candidates, newest=batch.newest)
        member = candidates.get((row.id, wanted))
        for other in aside[row.id]:
            if member and other.sha256 == wanted:
                await serve_version(batch, row, other, member, change_set)
        await _mark_decided(batch, row.id, decided, change_set)


async def lock_patients_of(batch: Batch, instances: Collection[int], arriving: Iterable[Identity] = ()) -> None:
    """Keep other writers from changing what is above any version of the instances, and above `arriving`.

    All are locked at once, in one order: whoever took those of the versions one by one could wait in a circle.
    """
    found = {parse_public_id(identity.public_patient) for identity in arriving}
    found |= await _patients_of(batch, instances)
    await batch.dialect.lock_patients(batch.connection, found)
    if not found.issuperset(await _patients_of(batch, instances)):
        raise RepeatTransaction("an instance was moved to another patient meanwhile")


async def _patients_of(batch: Batch, instances: Collection[int]) -> set[bytes]:
    """Return the public identifiers of the patients to whom the versions of the instances belong."""
    served = (
        select(tables.patients.c.public_id)
        .join(tables.studies, _t.patient == tables.patients.c.id)
        .join(tables.series, _s.study == _t.id)
        .join(tables.instances, _i.series == _s.id)
        .where(batch.dialect.among(_i.id, list(instances)))
    )
    aside = select(_c.patient_id).where(batch.dialect.among(_c.instance, list(instances))).distinct()
    found = set(await batch.connection.scalars(served.distinct()))
    return found | {parse_public_id(public_id(each)) for each in await batch.connection.scalars(aside)}


async def read_aside(batch: Batch, instances: Collection[int]) -> dict[int, list[Row[Any]]]:
    """Return the versions that are kept aside, by the row of their instance."""
    chosen = select(tables.conflicts, _p.pack_id).join(tables.packs, _c.pack == _p.id)
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in await batch.connection.execute(chosen.where(batch.dialect.among(_c.instance, list(instances)))):
        found[row.instance].append(row)
    return found


async def _decisions(batch: Batch, uids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """Return the decisions on instances, the last one first."""
    c = tables.decisions.c
    chosen = select(tables.decisions).where(batch.dialect.among(c.sop_instance_uid, uids))
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in await batch.connection.execute(chosen.order_by(c.decision_id.desc())):
        found[row.sop_instance_uid].append(row)
    return found


def _to_serve(
    served: Row[Any], aside: list[Row[Any]], decisions: list[Row[Any]], candidates: Candidates, *, newest: bool
) -> bytes:
    """Return the SHA-256 of the version to serve."""
    arrivals = {row.sha256: (row.pack_id, row.byte_offset) for row in (served, *aside)}
    for decision in decisions:
        if decision.kept in arrivals:
            return bytes(decision.kept)
    if newest:
        compared = (served, *(row for row in aside if row.compared is not None))
        return bytes(max(compared, key=lambda row: arrivals[row.sha256]).sha256)
    for (instance, sha256), member in candidates.items():
        if instance == served.id and sha256 in arrivals:
            arrivals[sha256] = min(arrivals[sha256], (member.pack_id, member.entry.offset))
    return bytes(min(arrivals, key=lambda sha256: arrivals[sha256]))


async def drop_conflict(batch: Batch, other: Row[Any], change_set: ChangeSet) -> None:
    """Turn a conflict into a duplicate: another version has the same bytes by now, or says the same in others."""
    await batch.connection.execute(delete(tables.conflicts).where(_c.id == other.id))
    await count_as_duplicate(batch, other, change_set)
    change_set.conflicts -= other.resolved is None


async def _mark_decided(batch: Batch, instance: int, decisions: list[Row[Any]], change_set: ChangeSet) -> None:
    """Mark the conflicts whose version is decided."""
    decided = {sha256: row.decided for row in reversed(decisions) for sha256 in (row.kept, row.other)}
    if not decided:
        return
    open_ones = select(_c.id, _c.sha256).where(_c.instance == instance, _c.resolved.is_(None))
    for row in (await batch.connection.execute(open_ones)).all():
        if row.sha256 in decided:
            mark = update(tables.conflicts).where(_c.id == row.id).values(resolved=decided[row.sha256])
            await batch.connection.execute(mark)
            change_set.conflicts -= 1
