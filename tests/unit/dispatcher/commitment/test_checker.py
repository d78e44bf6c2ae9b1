"""Only what is verifiably stored is committed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon.commitment.port import CommitmentFailure, CommitmentItem, FailureReason
from osteon.contracts.packs import PackStored
from osteon.errors import Unavailable
from osteon.objects.port import ObjectsUnavailable
from osteon_dispatcher.commitment.checker import CommitmentChecker
from support.dicom.datasets import ct_slice
from support.index.stored_packs import CT, MR
from support.indexer.ports import IndexerPorts, indexer_room

DEPTHS = ("row", "object", "sha256")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[IndexerPorts]:
    async with indexer_room(tmp_path) as made:
        yield made


async def stored(room: IndexerPorts) -> tuple[PackStored, list[CommitmentItem]]:
    first = ct_slice()
    slices = [first, ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2)]
    pack = await room.put("0" * 31 + "1", *slices)
    await room.run(pack)
    return pack, [CommitmentItem(str(each.SOPClassUID), str(each.SOPInstanceUID)) for each in slices]


async def failures(room: IndexerPorts, items: list[CommitmentItem], depth: str) -> list[CommitmentFailure]:
    async def nothing() -> None:
        return

    return await CommitmentChecker(room.index, room.objects, depth, nothing).failures(items)


@pytest.mark.parametrize("depth", DEPTHS)
async def test_what_is_stored_is_committed(room, depth):
    _, items = await stored(room)
    assert await failures(room, items, depth) == []


@pytest.mark.parametrize("depth", DEPTHS)
async def test_what_is_not_indexed_or_has_another_class_is_not(room, depth):
    _, items = await stored(room)
    asked = [CommitmentItem(CT, "1.2.3.999"), CommitmentItem(MR, items[0].sop_instance_uid), items[1]]
    assert await failures(room, asked, depth) == [
        CommitmentFailure(asked[0], FailureReason.NO_SUCH_OBJECT_INSTANCE),
        CommitmentFailure(asked[1], FailureReason.CLASS_INSTANCE_CONFLICT),
    ]


@pytest.mark.parametrize(("depth", "noticed"), [("row", 0), ("object", 2), ("sha256", 2)])
async def test_a_lost_object_is_noticed_from_object_on(room, depth, noticed):
    pack, items = await stored(room)
    await room.objects.delete(pack.key)
    found = await failures(room, items, depth)
    assert [each.reason for each in found] == [FailureReason.PROCESSING_FAILURE] * noticed


@pytest.mark.parametrize(("depth", "noticed"), [("row", 0), ("object", 2), ("sha256", 2)])
async def test_a_pack_of_another_length_is_noticed_from_object_on(room, depth, noticed):
    pack, items = await stored(room)
    await room.objects.put(pack.key, (await room.objects.get(pack.key))[:-1])
    assert len(await failures(room, items, depth)) == noticed


@pytest.mark.parametrize(("depth", "noticed"), [("row", 0), ("object", 0), ("sha256", 1)])
async def test_a_flipped_byte_is_noticed_by_reading_it_back_only(room, depth, noticed):
    pack, items = await stored(room)
    data = bytearray(await room.objects.get(pack.key))
    locations = [each async for each in room.index.pack_members(pack.pack_id)]
    data[locations[1].offset + locations[1].length - 1] ^= 1
    await room.objects.put(pack.key, bytes(data))
    found = await failures(room, items, depth)
    assert found == [CommitmentFailure(items[1], FailureReason.PROCESSING_FAILURE)][:noticed]


async def test_a_damaged_sidecar_commits_nothing(room):
    pack, items = await stored(room)
    await room.replace_sidecar(pack, bytes(pack.size - pack.sidecar.offset))
    assert len(await failures(room, items, "sha256")) == 2


async def test_while_the_object_store_is_down_nothing_is_said(room, monkeypatch):
    async def down(key: str) -> int:
        raise ObjectsUnavailable("down")

    _, items = await stored(room)
    monkeypatch.setattr(room.objects, "size", down)
    with pytest.raises(Unavailable):
        await failures(room, items, "object")


async def test_more_items_than_fit_in_one_question_are_all_looked_for(room):
    _, items = await stored(room)
    asked = [*(CommitmentItem(CT, f"1.2.{n}") for n in range(1200)), *items]
    assert len(await failures(room, asked, "object")) == 1200
