import asyncio

from osteon.dimse.read_turns import ROUND_STEPS, ReadTurns
from osteon.dimse.transport import TransportConnection


class Transport(asyncio.Transport):
    """Knows whether it may read."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class TwoAtATime:
    """Takes two bytes, then asks to wait."""

    def __init__(self) -> None:
        self.taken = b""
        loop = asyncio.get_running_loop()
        self.turns = ReadTurns(loop, 8)
        self.connection = TransportConnection(loop, self.turns, self)

    def feed(self, data: memoryview) -> int:
        self.taken += bytes(data[:2])
        self.connection.hold()
        return min(2, len(data))

    def on_connected(self) -> None:
        pass

    def on_writable(self) -> None:
        pass

    def rearm(self) -> None:
        pass

    def on_disconnected(self, error: Exception | None) -> None:
        pass


async def opened() -> tuple[TwoAtATime, TransportConnection, Transport]:
    receiver, transport = TwoAtATime(), Transport()
    connection = receiver.connection
    connection.connection_made(transport)
    connection.get_buffer(-1)[:4] = b"abcd"
    connection.buffer_updated(4)
    return receiver, connection, transport


async def test_what_is_not_taken_waits_although_the_shared_buffer_is_written_again() -> None:
    receiver, connection, transport = await opened()
    connection.get_buffer(-1)[:4] = b"XXXX"
    assert not transport.reading
    connection.resume()
    assert receiver.taken == b"abcd"


async def test_a_hold_at_the_very_last_byte_keeps_the_connection_from_being_read() -> None:
    receiver, connection, transport = await opened()
    connection.resume()
    assert receiver.taken == b"abcd"
    assert not transport.reading
    connection.resume()
    assert transport.reading


async def test_writers_wait_while_the_connection_is_congested_and_go_on_when_it_is_lost() -> None:
    _, connection, _ = await opened()
    connection.pause_writing()
    waiting = asyncio.create_task(connection.writable())
    await asyncio.sleep(0)
    assert connection.congested
    assert not waiting.done()
    connection.connection_lost(None)
    await waiting
    assert not connection.congested


class Slices(TwoAtATime):
    """Takes two bytes at a time, without asking to wait."""

    def feed(self, data: memoryview) -> int:
        self.taken += bytes(data[:2])
        return min(2, len(data))


async def test_what_is_more_than_a_slice_is_taken_in_later_rounds_and_nothing_is_read_before() -> None:
    receiver, transport = Slices(), Transport()
    connection = receiver.connection
    connection.connection_made(transport)
    connection.get_buffer(-1)[:6] = b"abcdef"
    connection.buffer_updated(6)
    assert (receiver.taken, transport.reading) == (b"ab", False)
    await asyncio.sleep(0)
    assert (receiver.taken, transport.reading) == (b"abcd", False)
    connection.hold()
    await asyncio.sleep(0)
    assert receiver.taken == b"abcd"
    connection.resume()
    assert (receiver.taken, transport.reading) == (b"abcdef", True)


async def test_what_is_read_while_all_is_crowded_waits_for_its_turn() -> None:
    receiver, transport = Slices(), Transport()
    connection = receiver.connection
    connection.connection_made(transport)
    receiver.turns.spend(ROUND_STEPS)
    connection.get_buffer(-1)[:2] = b"ab"
    connection.buffer_updated(2)
    assert (receiver.taken, transport.reading) == (b"", False)
    await asyncio.sleep(0)
    assert (receiver.taken, transport.reading) == (b"ab", True)
