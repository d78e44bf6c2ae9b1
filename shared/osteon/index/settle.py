"""Which of several versions of an instance is served, and bringing the rows to it.

The last decision on the instance says so; without one it is the version whose pack was begun first. The order in which
packs and decisions are indexed does not matter, so an index made again from the object store serves the same.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, delete, select, update

from osteon.index import tables
from osteon.index.batch import Batch, Member
from osteon.index.database import RepeatTransaction
from osteon.index.log import Written
from osteon.index.replace import replace

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

Candidates = Mapping[tuple[int, bytes], Member]
"""Versions that can be served now, as all of their attributes are at hand: (row of the instance, SHA-256) → member."""


async def settle(batch: Batch, instances: Collection[int], candidates: Candidates, written: Written) -> None:
    """Serve the right versions of contested instances, by their rows, and mark what is decided."""
    await lock(batch, instances)
    served = await batch.connection.execute(_SERVED.where(batch.dialect.among(_i.id, list(instances))))
    rows = list(served)
    aside = await _aside(batch, instances)
    decisions = await _decisions(batch, [row.sop_instance_uid for row in rows])
    for row in rows:
        for other in [each for each in aside[row.id] if each.sha256 == row.sha256]:
            aside[row.id].remove(other)
            await _drop(batch, other, written)
        decided = decisions[row.sop_instance_uid]
        wanted = _wanted(row, aside[row.id], decided, candidates)
        member = candidates.get((row.id, wanted))
        for other in aside[row.id]:
            if member and other.sha256 == wanted:
                await replace(batch, row, other.id, member, written)
        await _mark(batch, row.id, decided, written)


async def lock(batch: Batch, instances: Collection[int]) -> None:
    """Let no one else change what is above the instances."""
    patients = (
        select(tables.patients.c.public_id)
        .join(tables.studies, _t.patient == tables.patients.c.id)
        .join(tables.series, _s.study == _t.id)
        .join(tables.instances, _i.series == _s.id)
        .where(batch.dialect.among(_i.id, list(instances)))
        .distinct()
    )
    found = set(await batch.connection.scalars(patients))
    await batch.dialect.lock_patients(batch.connection, found)
    if set(await batch.connection.scalars(patients)) != found:
        raise RepeatTransaction("an instance went to another patient meanwhile")


async def _aside(batch: Batch, instances: Collection[int]) -> dict[int, list[Row[Any]]]:
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


def _wanted(served: Row[Any], aside: list[Row[Any]], decisions: list[Row[Any]], candidates: Candidates) -> bytes:
    """Return the SHA-256 of the version to serve."""
    arrivals = {row.sha256: (row.pack_id, row.byte_offset) for row in (served, *aside)}
    for decision in decisions:
        if decision.kept in arrivals:
            return bytes(decision.kept)
    for (instance, sha256), member in candidates.items():
        if instance == served.id and sha256 in arrivals:
            arrivals[sha256] = min(arrivals[sha256], (member.pack_id, member.entry.offset))
    return bytes(min(arrivals, key=lambda sha256: arrivals[sha256]))


async def _drop(batch: Batch, other: Row[Any], written: Written) -> None:
    """Take back a conflict: while it was noted, another writer came to serve the same bytes."""
    of_member = (tables.repeats.c.pack == other.pack, tables.repeats.c.instance == other.instance)
    await batch.connection.execute(delete(tables.conflicts).where(_c.id == other.id))
    await batch.connection.execute(update(tables.repeats).where(*of_member).values(conflict=False))
    counts = {"duplicates": _p.duplicates + 1, "conflicts": _p.conflicts - 1}
    of_pack = update(tables.packs).where(_p.id == other.pack).values(counts)
    left = (await batch.connection.execute(of_pack.returning(_p.stored, _p.conflicts))).one()
    written.packs -= not (left.stored or left.conflicts)
    written.conflicts -= other.resolved is None


async def _mark(batch: Batch, instance: int, decisions: list[Row[Any]], written: Written) -> None:
    """Mark the conflicts whose version somebody has decided about."""
    decided = {sha256: row.decided for row in reversed(decisions) for sha256 in (row.kept, row.other)}
    if not decided:
        return
    open_ones = select(_c.id, _c.sha256).where(_c.instance == instance, _c.resolved.is_(None))
    for row in (await batch.connection.execute(open_ones)).all():
        if row.sha256 in decided:
            mark = update(tables.conflicts).where(_c.id == row.id).values(resolved=decided[row.sha256])
            await batch.connection.execute(mark)
            written.conflicts -= 1
