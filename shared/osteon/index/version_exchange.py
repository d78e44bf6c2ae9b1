"""Serving another version under a UID: the row keeps its number, everything around it follows.

The new version may belong to another patient, study or series. The caller has locked the patient of the old one.
"""

from typing import Any, Final

from sqlalchemy import Row, delete, exists, func, select, update

from osteon.archive.pack_records import InstanceEntry
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.batch import Batch, BatchMember, instance_row
from osteon.index.change_log import ChangeSet
from osteon.index.fields import FIELDS, FieldKind
from osteon.index.parent_rows import ROW_FIELDS, Parents
from osteon.index.reconciliations import former_ids, former_rows
from osteon.index.secondary_tables import write_names, write_requests

_i = tables.instances.c
_UPWARDS: Final = (Level.SERIES, Level.STUDY, Level.PATIENT)
_SUM_OF: Final = {Level.SERIES: "series", Level.STUDY: "studies"}


async def serve_version(
    batch: Batch, served: Row[Any], aside: Row[Any], member: BatchMember, change_set: ChangeSet
) -> None:
    """Serve `member` instead of `served` (a row of `select_versions`), which then becomes the conflict `aside`."""
    old = {Level.SERIES: served.series, Level.STUDY: served.study, Level.PATIENT: served.patient}
    parents = Parents(batch.connection, batch.dialect, batch.now)
    await parents.prepare([member.entry])
    created = await parents.grow([member.entry], batch.uids)
    row = instance_row(batch, member, parents)
    await batch.connection.execute(update(tables.instances).where(_i.id == served.id).values(row))
    await batch.connection.execute(
        update(tables.conflicts).where(tables.conflicts.c.id == aside.id).values(_set_aside(served))
    )
    if aside.pack != member.pack:  # the same bytes came again, in a pack that was begun before
        await count_as_duplicate(batch, aside, change_set)
    how = ("conflicts", "conflicts" if aside.pack == member.pack else "duplicates")
    await exchange_packs(batch, served.id, (served.pack, member.pack), how, change_set)
    gone = await _shrink(batch, old, served)
    await _inherit(batch, served.id, old, parents.rows(member.entry.identity), member.entry)
    former = former_rows(served, gone, row["public_id"])
    if former:
        replaced = batch.dialect.insert(former_ids)
        kept = {"sop_instance_uid": replaced.excluded.sop_instance_uid}
        replaced = replaced.on_conflict_do_update(index_elements=["public_id"], set_=kept)
        await batch.connection.execute(replaced, former)
    change_set.add_exchange(created, gone, served.id, (served.public_id, row["public_id"]), served.byte_length)


def _set_aside(served: Row[Any]) -> dict[str, Any]:
    """Return the columns of a conflict for the version that was served."""
    same = ("pack", "byte_offset", "byte_length", "sop_class", "transfer_syntax", "public_id", "sha256", "xxh3")
    values = {name: getattr(served, name) for name in same}
    return values | {
        "patient_id": served.patient_id or "",
        "study_uid": served.study_instance_uid,
        "series_uid": served.series_instance_uid,
    }


async def exchange_packs(
    batch: Batch, instance: int, packs: tuple[int, int], counted: tuple[str, str], change_set: ChangeSet
) -> None:
    """Note in the rows of two packs that an instance is served from the second, no longer from the first.

    `counted` are the columns that count its member in the first from now on, and counted that in the second till now.
    """
    old, new = packs
    if old == new:
        return
    pack_duplicates = tables.pack_duplicates
    await batch.connection.execute(
        delete(pack_duplicates).where(pack_duplicates.c.instance == instance, pack_duplicates.c.pack.in_((old, new)))
    )
    is_conflict = counted[0] == "conflicts"
    await batch.connection.execute(pack_duplicates.insert().values(pack=old, instance=instance, conflict=is_conflict))
    for pack, n, column in ((old, -1, counted[0]), (new, 1, counted[1])):
        await _recount(batch, pack, {"stored": n, column: -n}, change_set)


async def count_as_duplicate(batch: Batch, conflict: Row[Any], change_set: ChangeSet) -> None:
    """Count the member of a pack that was a conflict as a duplicate."""
    of_member = (tables.pack_duplicates.c.pack == conflict.pack, tables.pack_duplicates.c.instance == conflict.instance)
    await batch.connection.execute(update(tables.pack_duplicates).where(*of_member).values(conflict=False))
    await _recount(batch, conflict.pack, {"duplicates": 1, "conflicts": -1}, change_set)


async def _recount(batch: Batch, pack: int, more: dict[str, int], change_set: ChangeSet) -> None:
    """Add to the counts of a pack; it may become redundant, or useful."""
    c = tables.packs.c
    of_pack = update(tables.packs).where(c.id == pack).values({name: c[name] + n for name, n in more.items()})
    left = (await batch.connection.execute(of_pack.returning(c.stored, c.conflicts))).one()
    useful = left.stored + left.conflicts
    change_set.packs += bool(useful) - bool(useful - more.get("stored", 0) - more.get("conflicts", 0))


async def _inherit(
    batch: Batch, instance: int, old: dict[Level, int], new: dict[Level, int], entry: InstanceEntry
) -> None:
    """Give what is above, where it stays the same, the new version's attributes if it had them from this instance."""
    for level in _UPWARDS:
        if old[level] != new[level] or await _first(batch, level, new[level]) != instance:
            return
        table = tables.TABLE_OF[level]
        alone = (await batch.connection.scalar(select(table.c.instances).where(table.c.id == new[level]))) == 1
        given = {f.keyword: entry.attributes.get(f.keyword, "") for f in ROW_FIELDS[level]}
        given = {keyword: value for keyword, value in given.items() if value or alone}
        values: dict[str, Any] = {}
        for keyword, value in given.items():
            values |= FIELDS[keyword].store(value)
        await batch.connection.execute(update(table).where(table.c.id == new[level]).values(values))
        for names in tables.NAMES[level]:
            kinds = [keyword for keyword in given if FIELDS[keyword].kind is FieldKind.NAME]
            of_row = (names.c.owner == new[level], names.c.keyword.in_(kinds))
            await batch.connection.execute(delete(names).where(*of_row))
        await write_names(batch.connection, level, [(new[level], given)])
        if level is Level.SERIES and (entry.requests or alone):
            requests = tables.series_requests
            await batch.connection.execute(delete(requests).where(requests.c.series == new[level]))
            await write_requests(batch.connection, [(new[level], entry.requests)])


async def _first(batch: Batch, level: Level, row: int) -> int:
    """Return the instance that was indexed first of those below a row."""
    first: Any = row
    for lower in list(Level)[level.depth + 1 :]:
        below = tables.TABLE_OF[lower]
        # The sum keeps the database from walking over all rows in the order of their ids.
        lowest = select(func.min(below.c.id + 0)).where(below.c[tables.PARENT_OF[lower]] == first)
        first = await batch.connection.scalar(lowest)
    return int(first)


async def _shrink(batch: Batch, old: dict[Level, int], served: Row[Any]) -> list[tuple[Level, bytes]]:
    """Take the old version out of the sums; what is empty then is deleted and returned."""
    gone: list[tuple[Level, bytes]] = []
    for level in _UPWARDS:
        table = tables.TABLE_OF[level]
        values = {"instances": table.c.instances - 1, "size": table.c.size - served.byte_length, "updated": batch.now}
        for lower, _ in gone:
            values[_SUM_OF[lower]] = table.c[_SUM_OF[lower]] - 1
        left = update(table).where(table.c.id == old[level]).values(values)
        found = (await batch.connection.execute(left.returning(table.c.instances, table.c.public_id))).one()
        if not found.instances:
            await _delete(batch, level, old[level])
            gone.append((level, found.public_id))
        elif level is Level.STUDY:
            await _forget_sop_class(batch, old[level], served.sop_class)
    return gone


async def _delete(batch: Batch, level: Level, row: int) -> None:
    secondary = [names.c.owner for names in tables.NAMES[level]]
    if level is Level.SERIES:
        secondary.append(tables.series_requests.c.series)
    if level is Level.STUDY:
        secondary.append(tables.study_sop_classes.c.study)
    for column in secondary:
        await batch.connection.execute(delete(column.table).where(column == row))
    table = tables.TABLE_OF[level]
    await batch.connection.execute(delete(table).where(table.c.id == row))


async def _forget_sop_class(batch: Batch, study: int, sop_class: int) -> None:
    """Take a SOP class from a study unless another instance of it has it."""
    series, pairs = tables.series.c, tables.study_sop_classes
    others = exists().where(_i.series == series.id, series.study == study, _i.sop_class == sop_class)
    of_study = (pairs.c.study == study, pairs.c.sop_class == sop_class)
    await batch.connection.execute(delete(pairs).where(*of_study, ~others))
