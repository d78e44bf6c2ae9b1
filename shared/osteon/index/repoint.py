"""Points rows of a pack that the object store has lost at another pack that has the same bytes."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Table, select, update

from osteon.archive.pack_records import InstanceEntry, StoredPack
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.batch import Batch
from osteon.index.change_log import ChangeSet, write_log
from osteon.index.version_exchange import exchange_packs
from osteon.index.version_selection import lock_patients_of

_i, _c, _p, _s, _t = (
    table.c for table in (tables.instances, tables.conflicts, tables.packs, tables.series, tables.studies)
)
_UPWARDS: Final = ((Level.SERIES, "series"), (Level.STUDY, "study"), (Level.PATIENT, "patient"))


async def repoint(batch: Batch, pack: StoredPack, lost: Sequence[str]) -> None:
    """Take over what `pack` has of the packs `lost`; what is not known of either changes nothing."""
    entries = {(e.identity.sop_uid, e.sha256): e for e in reversed(pack.instances)}
    packs = await _packs(batch, [pack.facts.pack_id, *lost])
    new = packs.pop(pack.facts.pack_id, None)
    if new is None or not packs:
        return
    before = await _useful(batch, [new, *packs.values()])
    change_set = ChangeSet()
    uids = list({uid for uid, _ in entries})
    for row in await _served(batch, uids, list(packs.values())):
        if entry := entries.get((row.sop_instance_uid, row.sha256)):
            await _take_over(batch, tables.instances, row, new, entry)
            await exchange_packs(batch, row.id, (row.pack, new), ("duplicates", "duplicates"), change_set)
            await _resize(batch, row, entry.length - row.byte_length, change_set)
    for row in await _aside(batch, uids, list(packs.values())):
        if entry := entries.get((row.sop_instance_uid, row.sha256)):
            await _take_over(batch, tables.conflicts, row, new, entry)
            await _keep(batch, row, new)
    change_set.packs = await _useful(batch, [new, *packs.values()]) - before
    if change_set != ChangeSet():
        await write_log(batch.connection, batch.dialect, batch.now, change_set)


async def _packs(batch: Batch, pack_ids: Sequence[str]) -> dict[str, int]:
    found = select(_p.pack_id, _p.id).where(batch.dialect.among(_p.pack_id, list(pack_ids)))
    return {row.pack_id: row.id for row in await batch.connection.execute(found)}


async def _served(batch: Batch, uids: list[str], lost: list[int]) -> Sequence[Row[Any]]:
    """Return instances that the lost packs should have, once no one else can change them."""
    where = (batch.dialect.among(_i.sop_instance_uid, uids), _i.pack.in_(lost))
    await lock_patients_of(batch, list(await batch.connection.scalars(select(_i.id).where(*where))))
    chosen = select(tables.instances, _s.study, _t.patient).join(tables.series, _i.series == _s.id)
    found = await batch.connection.execute(chosen.join(tables.studies, _s.study == _t.id).where(*where))
    return found.all()


async def _aside(batch: Batch, uids: list[str], lost: list[int]) -> Sequence[Row[Any]]:
    chosen = select(tables.conflicts, _i.sop_instance_uid).join(tables.instances, _c.instance == _i.id)
    where = (batch.dialect.among(_i.sop_instance_uid, uids), _c.pack.in_(lost))
    return (await batch.connection.execute(chosen.where(*where))).all()


async def _take_over(batch: Batch, table: Table, row: Row[Any], new: int, entry: InstanceEntry) -> None:
    values = {"pack": new, "byte_offset": entry.offset, "byte_length": entry.length, "xxh3": entry.xxh3 or None}
    await batch.connection.execute(update(table).where(table.c.id == row.id).values(values))


async def _keep(batch: Batch, row: Row[Any], new: int) -> None:
    """Count a pack's member as a conflict, so that the pack is not redundant: its bytes are kept aside by now."""
    pack_duplicates = tables.pack_duplicates
    of_member = (
        pack_duplicates.c.pack == new,
        pack_duplicates.c.instance == row.instance,
        pack_duplicates.c.conflict.is_(False),
    )
    marked = update(pack_duplicates).where(*of_member).values(conflict=True).returning(pack_duplicates.c.pack)
    if (await batch.connection.execute(marked)).all():
        counts = {"duplicates": _p.duplicates - 1, "conflicts": _p.conflicts + 1}
        await batch.connection.execute(update(tables.packs).where(_p.id == new).values(counts))


async def _resize(batch: Batch, row: Row[Any], grown: int, change_set: ChangeSet) -> None:
    """Correct sums: the same data set may have another file meta information."""
    if not grown:
        return
    change_set.size += grown
    for level, column in _UPWARDS:
        table = tables.TABLE_OF[level]
        of_row: ColumnElement[bool] = table.c.id == getattr(row, column)
        await batch.connection.execute(update(table).where(of_row).values(size=table.c.size + grown))


async def _useful(batch: Batch, packs: list[int]) -> int:
    """Count the packs that are not redundant."""
    found = await batch.connection.execute(select(_p.stored, _p.conflicts).where(_p.id.in_(packs)))
    return sum(1 for row in found if row.stored or row.conflicts)
