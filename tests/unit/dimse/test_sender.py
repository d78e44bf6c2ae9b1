"""Messages that are sent bit by bit: how they are cut, and that parts of two never mix."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.dimse.pdu import PduType
from osteon.dimse.sender import MessageSender, PdvFragmenter
from osteon.dimse.stream import BodyHandling, PduStream


class Reassembled:
    """What a peer makes of PDUs."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.messages: list[tuple[int, int, bytes]] = []
        self._data = bytearray()

    def begin_pdu(self, kind: PduType, length: int) -> BodyHandling:
        assert kind is PduType.P_DATA_TF
        self.lengths.append(length)
        return BodyHandling.STREAM

    def end_pdu(self, kind: PduType, body: bytes) -> None:
        raise AssertionError

    def fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        self._data += data
        if end and control & 2:
            self.messages.append((context_id, control, bytes(self._data)))
            self._data.clear()


class FakeWire:
    """Takes PDUs, and more of them only when the test says so."""

    def __init__(self) -> None:
        self.peer = Reassembled()
        self.allowed = True
        self.open = asyncio.Event()
        self.open.set()
        self.size = 0
        self._stream = PduStream(self.peer)

    def may_send(self) -> bool:
        return self.allowed

    def send(self, *parts: bytes | memoryview) -> None:
        for part in parts:
            self.size += len(part)
            assert self._stream.feed(memoryview(part)) == len(part)

    async def writable(self) -> None:
        await self.open.wait()


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@given(st.lists(st.binary(max_size=50), max_size=12), st.integers(8, 70))
def test_a_data_set_is_cut_into_pdus_that_are_full_but_for_the_last(parts: list[bytes], limit: int) -> None:
    wire, cutter = FakeWire(), PdvFragmenter(1, limit)
    for part in parts:
        wire.send(*cutter.add(memoryview(part)))
    wire.send(*cutter.end())
    whole = b"".join(parts)
    assert wire.peer.messages == [(1, 2, whole + bytes(len(whole) % 2))]
    assert set(wire.peer.lengths[:-1]) <= {limit & ~1}
    assert wire.peer.lengths[-1] <= limit


async def test_nothing_is_sent_before_the_first_part_is_there() -> None:
    wire, gate = FakeWire(), asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b"data"

    sender = MessageSender(wire, 100)
    sending = asyncio.create_task(sender.stream(1, b"c", late()))
    await asyncio.sleep(0)
    assert wire.size == 0
    gate.set()
    await sending
    assert wire.peer.messages == [(1, 3, b"c"), (1, 2, b"data")]


async def test_a_source_that_fails_at_once_sends_nothing() -> None:
    async def broken() -> AsyncIterator[bytes]:
        raise OSError("gone")
        yield b""

    wire = FakeWire()
    sender = MessageSender(wire, 100)
    with pytest.raises(OSError, match="gone"):
        await sender.stream(1, b"cc", broken())
    assert (wire.size, sender.torn) == (0, False)


async def test_a_source_that_fails_half_way_leaves_a_torn_message() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError("gone")

    sender = MessageSender(FakeWire(), 100)
    with pytest.raises(OSError, match="gone"):
        await sender.stream(1, b"cc", broken())
    assert sender.torn


async def test_a_message_that_is_sent_meanwhile_comes_after_the_one_that_is_streamed() -> None:
    wire, gate = FakeWire(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"be"
        await gate.wait()
        yield b"gun"

    sender = MessageSender(wire, 10)
    sending = asyncio.create_task(sender.stream(1, b"cc", slow()))
    await asyncio.sleep(0)
    sender.send(3, b"rsp!", b"data")
    idle = asyncio.create_task(sender.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    gate.set()
    await asyncio.gather(sending, idle)
    assert wire.peer.messages == [(1, 3, b"cc"), (1, 2, b"begun\0"), (3, 3, b"rsp!"), (3, 2, b"data")]


async def test_two_streams_come_one_after_the_other() -> None:
    wire = FakeWire()
    sender = MessageSender(wire, 10)
    await asyncio.gather(*(sender.stream(n, b"cc", parts_of(b"one", b"two")) for n in (1, 3)))
    assert wire.peer.messages == [(1, 3, b"cc"), (1, 2, b"onetwo"), (3, 3, b"cc"), (3, 2, b"onetwo")]


async def test_no_more_is_taken_from_the_source_than_the_peer_reads() -> None:
    wire, taken = FakeWire(), []

    async def counted() -> AsyncIterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield b"0123456789"

    wire.open.clear()
    sending = asyncio.create_task(MessageSender(wire, 10).stream(1, b"cc", counted()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(taken) == 2
    wire.open.set()
    await sending
    assert len(taken) == 10


async def test_sending_stops_when_the_state_allows_it_no_longer() -> None:
    wire = FakeWire()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            wire.allowed = wire.size < 100
            yield b"0123456789"

    await MessageSender(wire, 20).stream(1, b"cc", endless())
    assert wire.size < 200
