import asyncio

from osteon.dimse.transport import TransportConnection


class Transport(asyncio.Transport):
    """Knows whether it may read."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class TwoAtATime(TransportConnection):
    """Takes two bytes, then asks to wait."""

    taken = b""

    def feed(self, data: memoryview) -> int:
        self.taken += bytes(data[:2])
        self.hold()
        return min(2, len(data))


async def opened() -> tuple[TwoAtATime, Transport]:
    link, transport = TwoAtATime(asyncio.get_running_loop(), memoryview(bytearray(8))), Transport()
    link.connection_made(transport)
    link.get_buffer(-1)[:4] = b"abcd"
    link.buffer_updated(4)
    return link, transport


async def test_what_is_not_taken_waits_although_the_shared_buffer_is_written_again() -> None:
    link, transport = await opened()
    link.get_buffer(-1)[:4] = b"XXXX"
    assert not transport.reading
    link.resume()
    assert link.taken == b"abcd"


async def test_a_hold_at_the_very_last_byte_keeps_the_connection_from_being_read() -> None:
    link, transport = await opened()
    link.resume()
    assert link.taken == b"abcd"
    assert not transport.reading
    link.resume()
    assert transport.reading


async def test_writers_wait_while_the_connection_is_congested_and_go_on_when_it_is_lost() -> None:
    link, _ = await opened()
    link.pause_writing()
    waiting = asyncio.create_task(link.writable())
    await asyncio.sleep(0)
    assert link.congested
    assert not waiting.done()
    link.connection_lost(None)
    await waiting
    assert not link.congested
