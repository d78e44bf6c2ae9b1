"""The indexer turns stored packs into rows, again and again to the same effect."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from osteon.archive.resources import InstanceScope, Match
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.errors import Invalid
from osteon.index.sql import SqlIndex
from osteon.packs import sidecar
from osteon_indexer.handlers import PackMissing
from osteon_indexer.sweep import sweep
from support.dicom.datasets import ct_slice
from support.index.stored_packs import sqlite_url
from support.indexer.ports import IndexerPorts


async def test_a_batch_becomes_rows_and_events(room: IndexerPorts) -> None:
    first, second = await room.put("p1", ct_slice(), ct_slice()), await room.put("p2", ct_slice())
    await room.run(first, second)
    await room.bus.close()
    assert await room.instances() == 3
    assert {(e.pack_id, e.stored, e.correlation_id) for e in room.indexed} == {
        ("p1", 2, "test-p1"),
        ("p2", 1, "test-p2"),
    }


async def test_the_same_pack_again_changes_nothing_and_is_announced_alike(room: IndexerPorts) -> None:
    pack = await room.put("p1", ct_slice())
    await room.run(pack)
    await room.run(pack, pack)
    await room.bus.close()
    assert await room.instances() == 1
    assert [e.stored for e in room.indexed] == [1, 1]
    assert await room.objects.size(pack.key) == pack.size


def duplicates() -> float:
    """Return how many duplicates were counted in this process."""
    labels = {"state": "duplicates"}
    return REGISTRY.get_sample_value("osteon_indexed_instances_total", labels) or 0.0


async def test_a_pack_of_known_instances_only_is_deleted_and_can_be_delivered_again(room: IndexerPorts) -> None:
    dataset = ct_slice()
    before, counted = duplicates(), []
    first, again = await room.put("p1", dataset), await room.put("p2", dataset)
    for pack in (first, again, again):
        await room.run(pack)
        counted.append(duplicates() - before)
    await room.bus.close()
    assert [(e.pack_id, e.stored) for e in room.indexed] == [("p1", 1), ("p2", 0), ("p2", 0)]
    assert counted == [0, 1, 2]
    assert await room.keys() == [first.key]


async def test_other_bytes_under_a_known_uid_are_kept_aside(room: IndexerPorts) -> None:
    first, second = ct_slice(), ct_slice(number=2)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    kept, aside = await room.put("p1", first), await room.put("p2", second)
    await room.run(kept)
    await room.run(aside)
    (conflict,) = await room.index.conflicts()
    assert (conflict.served.location.key, conflict.aside.location.key) == (kept.key, aside.key)
    assert await room.objects.size(aside.key) == aside.size


async def test_a_pack_without_objects_is_an_error_that_names_it(room: IndexerPorts) -> None:
    pack = await room.put("p1", ct_slice())
    await room.objects.delete(pack.key)
    with pytest.raises(PackMissing, match="p1"):
        await room.run(pack)


async def test_a_sidecar_that_was_cut_is_refused_and_nothing_is_deleted(room: IndexerPorts) -> None:
    pack = await room.put("p1", *(ct_slice() for _ in range(3)))
    whole = await room.objects.get(pack.key)
    facts, lines = sidecar.decode(await room.objects.get(*pack.sidecar))
    for cut in (sidecar.encode(facts, ()), sidecar.encode(facts, list(lines)[:2])):
        await room.replace_sidecar(pack, cut)
        with pytest.raises(sidecar.BadSidecar, match="3 instances"):
            await room.run(pack)
    await room.objects.put(pack.key, whole[: pack.sidecar.offset - 1])
    with pytest.raises(Invalid, match="bytes"):
        await room.run(pack)
    assert await room.keys() == [pack.key]
    await room.objects.put(pack.key, whole)
    await room.run(pack)
    assert await room.instances() == 3


async def test_a_pack_whose_sidecar_is_an_object_of_its_own_is_indexed_and_deleted_with_it(room: IndexerPorts) -> None:
    dataset = ct_slice()
    first = await room.put_separately("p1", dataset)
    await room.run(first)
    (at,) = [at async for at in room.index.locate(InstanceScope())]
    assert (at.key, at.sidecar) == (first.key, (first.key.replace(".tar", ".meta"), 0))
    await room.run(await room.put_separately("p2", dataset))
    await room.run(await room.put("p3", dataset))
    assert await room.keys() == sorted([at.key, at.sidecar.key])


async def test_a_pack_that_an_upgrade_stores_once_more_has_its_sidecar_in_it_from_then_on(room: IndexerPorts) -> None:
    dataset = ct_slice()
    before = await room.put_separately("p1", dataset)
    (room.folder / "spool/owner/p1.tar").unlink()
    after = await room.put("p1", dataset)
    for message in (before, after, before):
        await room.run(message)
    (at,) = [at async for at in room.index.locate(InstanceScope())]
    assert at.sidecar == after.sidecar
    (row,) = [row async for row in room.index.pack_rows()]
    assert (row.size, row.sidecar) == (after.size, after.sidecar)


@pytest.mark.parametrize("left", [None, 1000])
async def test_instances_of_a_pack_that_is_gone_or_cut_are_served_from_the_pack_that_comes_next(
    room: IndexerPorts, left: int | None
) -> None:
    dataset = ct_slice()
    first = await room.put("p1", dataset)
    await room.run(first)
    if left is None:
        await room.objects.delete(first.key)
    else:
        await room.objects.put(first.key, bytes(left))
    again, before = await room.put("p2", dataset), duplicates()
    await room.run(again)
    await room.bus.close()
    assert await room.objects.size(again.key) == again.size
    assert (room.indexed[-1].stored, duplicates() - before) == (1, 0)
    assert [at.key async for at in room.index.locate(InstanceScope())] == [again.key]


async def test_a_sidecar_that_is_gone_is_replaced_by_the_pack_that_comes_next(room: IndexerPorts) -> None:
    dataset = ct_slice()
    first = await room.put_separately("p1", dataset)
    await room.run(first)
    await room.objects.delete(first.sidecar.key)
    again = await room.put("p2", ct_slice(), dataset)
    await room.run(again)
    assert {at.key async for at in room.index.locate(InstanceScope())} == {again.key}


async def test_an_index_made_again_serves_what_came_first_and_counts_the_same(
    room: IndexerPorts, tmp_path: Path
) -> None:
    contested = [
        ct_slice(study=f"1.2.{9 - n}", series=f"1.2.{9 - n}.1", number=n, PatientName=f"N{n}") for n in range(4)
    ]
    for dataset in contested:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = contested[0].SOPInstanceUID
    for n, dataset in enumerate(contested):
        await room.run(await room.put(f"a{n}", dataset))
    known = ct_slice(study="1.1", series="1.1.1")
    for name, datasets in (("b1", [known]), ("b2", [known]), ("b3", [known, ct_slice(study="1.1", series="1.1.1")])):
        await room.run(await room.put(name, *datasets))
    again = SqlIndex(sqlite_url(tmp_path / "again.sqlite"))
    assert await sweep(objects=room.objects, index=again, min_age=timedelta(0)) == 6
    assert await again.statistics() == await room.index.statistics()
    for level in Level:
        before, after = [(await index.search(Search(level))).matches for index in (room.index, again)]
        assert [without_times(m) for m in after] == [without_times(m) for m in before]
    assert {(c.served, c.aside) for c in await again.conflicts()} == {
        (c.served, c.aside) for c in await room.index.conflicts()
    }
    assert [
        at.identity.study_uid async for at in again.locate(InstanceScope(sop_uids=(contested[0].SOPInstanceUID,)))
    ] == ["1.2.9"]
    await again.close()


def without_times(match: Match) -> Match:
    def plain(resource):
        return resource and replace(resource, updated=None)

    return replace(match, patient=plain(match.patient), study=plain(match.study), series=plain(match.series))


async def test_a_redundant_pack_whose_deletion_was_interrupted_is_deleted_by_the_next_delivery(
    room: IndexerPorts,
) -> None:
    dataset = ct_slice()
    first, again = await room.put("p1", dataset), await room.put_separately("p2", dataset)
    await room.run(first)
    await room.run(again)
    await room.objects.put(again.key, b"left over")
    await room.run(again)
    assert await room.keys() == [first.key]
