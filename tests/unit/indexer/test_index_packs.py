"""The indexer turns stored packs into rows, again and again to the same effect."""

import pytest

from osteon.spool import sidecar
from osteon_indexer.handlers import PackMissing
from support.indexer import Room
from support.make import ct_slice


async def test_a_batch_becomes_rows_and_events(room: Room) -> None:
    first, second = await room.put("p1", ct_slice(), ct_slice()), await room.put("p2", ct_slice())
    await room.run(first, second)
    await room.bus.close()
    assert await room.instances() == 3
    assert {(e.pack_id, e.stored, e.correlation_id) for e in room.indexed} == {
        ("p1", 2, "test-p1"),
        ("p2", 1, "test-p2"),
    }


async def test_the_same_pack_again_changes_nothing_and_is_announced_alike(room: Room) -> None:
    pack = await room.put("p1", ct_slice())
    await room.run(pack)
    await room.run(pack, pack)
    await room.bus.close()
    assert await room.instances() == 1
    assert [e.stored for e in room.indexed] == [1, 1]
    assert await room.objects.size(pack.key) == pack.size


async def test_a_pack_of_known_instances_only_is_deleted_and_can_be_delivered_again(room: Room) -> None:
    dataset = ct_slice()
    first = await room.put("p1", dataset)
    await room.run(first)
    again = await room.put("p2", dataset)
    await room.run(again)
    await room.run(again)
    await room.bus.close()
    assert [(e.pack_id, e.stored, e.duplicates) for e in room.indexed] == [("p1", 1, 0), ("p2", 0, 1), ("p2", 0, 1)]
    assert [info.key async for info in room.objects.list()] == sorted([first.key, first.sidecar_key])


async def test_other_bytes_under_a_known_uid_are_kept_aside(room: Room) -> None:
    first, second = ct_slice(), ct_slice(number=2)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    kept, aside = await room.put("p1", first), await room.put("p2", second)
    await room.run(kept)
    await room.run(aside)
    (conflict,) = await room.index.conflicts()
    assert (conflict.served.location.key, conflict.aside.location.key) == (kept.key, aside.key)
    assert await room.objects.size(aside.key) == aside.size


async def test_a_pack_without_objects_is_an_error_that_names_it(room: Room) -> None:
    pack = await room.put("p1", ct_slice())
    await room.objects.delete(pack.sidecar_key)
    with pytest.raises(PackMissing, match="p1"):
        await room.run(pack)


async def test_a_sidecar_that_was_cut_is_refused_and_nothing_is_deleted(room: Room) -> None:
    pack = await room.put("p1", *(ct_slice() for _ in range(3)))
    whole = await room.objects.get(pack.sidecar_key)
    facts, _ = sidecar.decode(whole)
    for cut in (sidecar.encode(facts, ()), sidecar.encode(facts, list(sidecar.decode(whole)[1])[:2])):
        await room.objects.put(pack.sidecar_key, cut)
        with pytest.raises(sidecar.BadSidecar, match="3 instances"):
            await room.run(pack)
    assert await room.keys() == sorted([pack.key, pack.sidecar_key])
    await room.objects.put(pack.sidecar_key, whole)
    await room.run(pack)
    assert await room.instances() == 3


@pytest.mark.parametrize("left", [None, 1000])
async def test_a_pack_is_not_deleted_as_redundant_when_the_other_copy_is_gone(room: Room, left: int | None) -> None:
    dataset = ct_slice()
    first = await room.put("p1", dataset)
    await room.run(first)
    if left is None:
        await room.objects.delete(first.key)
    else:
        await room.objects.put(first.key, bytes(left))
    again = await room.put("p2", dataset)
    await room.run(again)
    await room.bus.close()
    assert await room.objects.size(again.key) == again.size
    assert room.indexed[-1].duplicates == 1


async def test_a_redundant_pack_whose_deletion_was_interrupted_is_deleted_by_the_next_delivery(room: Room) -> None:
    dataset = ct_slice()
    first, again = await room.put("p1", dataset), await room.put("p2", dataset)
    await room.run(first)
    await room.run(again)
    await room.objects.put(again.key, b"left over")
    await room.run(again)
    assert await room.keys() == sorted([first.key, first.sidecar_key])
