"""Whose turn it is to upload."""

import asyncio

import pytest

from osteon_query.http.errors import ClientUploadsExceeded, UploadCapacityExceeded
from osteon_query.packs.upload_slots import UploadSlots


async def test_a_client_leaves_slots_to_others() -> None:
    slots = UploadSlots(at_once=3, per_client=2)
    for _ in range(2):
        await slots.acquire("greedy", 1)
    with pytest.raises(ClientUploadsExceeded, match="OSTEON_MAX_UPLOADS_PER_CLIENT"):
        await slots.acquire("greedy", 0.01)
    await slots.acquire("other", 1)
    with pytest.raises(UploadCapacityExceeded, match="OSTEON_MAX_CONCURRENT_UPLOADS"):
        await slots.acquire("third", 0.01)


async def test_a_released_slot_goes_to_the_first_that_may_have_it() -> None:
    slots = UploadSlots(at_once=2, per_client=1)
    await slots.acquire("a", 1)
    await slots.acquire("b", 1)
    again = asyncio.create_task(slots.acquire("a", 5))
    await asyncio.sleep(0)
    third = asyncio.create_task(slots.acquire("c", 5))
    await asyncio.sleep(0)
    slots.release("b")
    await third
    assert not again.done()
    slots.release("a")
    await again


async def test_a_request_that_is_cancelled_keeps_no_slot() -> None:
    slots = UploadSlots(at_once=1, per_client=1)
    await slots.acquire("a", 1)
    waiting = asyncio.create_task(slots.acquire("b", 5))
    await asyncio.sleep(0)
    slots.release("a")  # grants the slot to a task that does not get to know it
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await slots.acquire("c", 0.5)
