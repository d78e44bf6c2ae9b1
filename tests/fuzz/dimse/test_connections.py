"""Many connections, slow ones, and ones whose peer is gone: what they hold is bounded, and it is given back."""

import asyncio
import gc
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from osteon.dimse import acceptor
from osteon.dimse.association import AcceptedAssociation
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo, FindRequest, FindResponse
from osteon.dimse.observer import AssociationEnd, RejectReason
from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.status import Status
from support.dimse.raw_peer import (
    DataSetSink,
    RawPeer,
    RecordingHandler,
    data_tf,
    echo_rq,
    find_rq,
    pdu,
    pdv,
    request_pdu,
    store_message,
    store_rq,
)
from support.fuzz.acceptor import (
    BY_USER,
    CONTEXTS,
    UNRECOGNIZED_PDU,
    MemoryTransport,
    allow_files,
    in_batches,
    under_attack,
    until,
    window,
)

LARGE = 40 << 20


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def echo(peer: RawPeer) -> int:
    await peer.send(data_tf(pdv(3, 3, echo_rq())))
    return (await peer.response()).status


@pytest.mark.slow
async def test_a_thousand_idle_associations_take_little_and_hold_up_no_other() -> None:
    allow_files(4000)
    idle = 1000
    async with under_attack(max_associations=idle + 1) as target:
        peers: list[RawPeer] = []

        async def sit() -> None:
            peers.append(await target.associated())

        await in_batches([sit] * (idle - 200))
        gc.collect()
        tracemalloc.start()
        await in_batches([sit] * 200)
        gc.collect()
        held = _of_osteon() / 200
        tracemalloc.stop()
        assert held < 20_000, f"{held:.0f} bytes for each association"
        assert target.acceptor.associations == idle + 1
        late = await target.peer()
        await late.send(request_pdu(CONTEXTS))
        assert await late.receive() == (3, bytes((0, 2, 3, 2)))
        await late.close()
        assert target.log.rejects == [RejectReason.LOCAL_LIMIT_EXCEEDED]
        assert await echo(peers[0]) == await echo(peers[-1]) == Status.SUCCESS
        await in_batches([peer.release for peer in peers])
        await target.settled(idle)
        assert set(target.log.ends) == {AssociationEnd.RELEASED}


def _of_osteon() -> int:
    """Bytes that the upper layer holds; the peers of this process are not counted."""
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/osteon/dimse/*")])
    return sum(entry.size for entry in snapshot.statistics("filename"))


async def test_the_connection_that_waits_longest_gives_way_when_too_many_do_nothing_but_connect() -> None:
    async with under_attack(max_waiting=20) as target:
        before = open_files()
        silent = [await target.peer() for _ in range(100)]
        await until(lambda: target.log.unuseds.count(AssociationEnd.CROWDED_OUT) == 80)
        assert target.acceptor.waiting == 20
        assert open_files() - before <= 100 + 20 + 5
        assert all([await peer.at_end() for peer in silent[:80]])
        asks = await target.associated()
        assert await echo(asks) == Status.SUCCESS
        await silent[-1].send(request_pdu(CONTEXTS))
        assert (await silent[-1].receive())[0] == 2
        for peer in (*silent, asks):
            await peer.close()


async def test_rejected_peers_that_never_close_are_bounded_as_well() -> None:
    async with under_attack(max_waiting=10, check_called_aet=True) as target:

        async def ask() -> RawPeer:
            peer = await target.peer()
            await peer.send(request_pdu(CONTEXTS, called="WRONG"))
            assert await peer.receive() == (3, bytes((0, 1, 1, 7)))
            return peer

        peers = [await ask() for _ in range(60)]
        await until(lambda: len(target.acceptor.connections) <= 11)
        assert target.log.unuseds == [AssociationEnd.REJECTED] * 60
        for peer in peers:
            await peer.close()


@pytest.mark.parametrize("gently", [True, False], ids=["close", "reset"])
async def test_thousands_of_health_checks_leave_no_memory_files_tasks_or_warnings(gently: bool) -> None:
    async with under_attack(bystander=False) as target:

        def check() -> None:
            with socket.create_connection(("127.0.0.1", target.port)) as probe:
                if not gently:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        async def checks(count: int) -> None:
            for _ in range(count // 100):
                enough = len(target.log.unuseds) + 100
                await asyncio.to_thread(lambda: [check() for _ in range(100)])
                await until(lambda enough=enough: len(target.log.unuseds) == enough)
            gc.collect()

        await checks(500)
        tracemalloc.start()
        before, files, tasks = _of_osteon(), open_files(), len(asyncio.all_tasks())
        with capture_logs() as lines:
            await checks(2000)
        loud = [line for line in lines if line["log_level"] != "debug"]
        lines.clear()
        held = _of_osteon() - before
        tracemalloc.stop()
        assert held < 20_000
        assert open_files() <= files + 2
        assert len(asyncio.all_tasks()) <= tasks + 1
        assert not loud
        assert set(target.log.unuseds) == {AssociationEnd.LOST}


async def drip(peer: RawPeer, data: bytes, seconds: float, size: int = 1) -> None:
    """Send a byte, or `size`, now and then until the other side has enough."""
    for at in range(0, len(data), size):
        if peer.reader.at_eof():
            return
        await peer.send(data[at : at + size])
        await asyncio.sleep(seconds)


SLOW = {
    "headers": (b"", data_tf(pdv(3, 3, echo_rq())), 0.1),
    "command set": (b"", data_tf(pdv(1, 1, bytes(5000))), 0.02),
    "data set": (data_tf(pdv(1, 3, store_rq())), data_tf(pdv(1, 0, bytes(5000))), 0.02),
    "Identifier": (data_tf(pdv(5, 3, find_rq())), data_tf(pdv(5, 0, bytes(5000))), 0.02),
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_byte_now_and_then_does_not_keep_an_association(name: str) -> None:
    at_once, slowly, seconds = SLOW[name]
    async with under_attack(dimse_timeout=0.3) as target:
        peer = await target.associated()
        await peer.send(at_once)
        dripping = asyncio.create_task(drip(peer, slowly, seconds))
        assert await asyncio.wait_for(peer.receive(), 30) == BY_USER
        dripping.cancel()
        await peer.close()
        await target.settled(1)
        assert target.log.ends == [AssociationEnd.TIMED_OUT]
        assert {sink.end for handler in target.attackers for sink in handler.sinks} <= {"abort"}


async def test_a_request_of_single_bytes_has_the_time_of_artim_and_no_more() -> None:
    async with under_attack(artim_timeout=0.3) as target:
        peer = await target.peer()
        dripping = asyncio.create_task(drip(peer, request_pdu(CONTEXTS), 0.02))
        assert await asyncio.wait_for(peer.everything(), 30) == []
        dripping.cancel()
        await peer.close()
        await until(lambda: target.log.unuseds == [AssociationEnd.TIMED_OUT])


@pytest.mark.parametrize("claimed", [60_000, 2**32 - 1])
async def test_a_pdu_has_a_time_limit_although_its_message_makes_progress(claimed: int) -> None:
    async with under_attack(dimse_timeout=0.5, pdu_timeout=1.0) as target:
        peer = await target.associated()
        await peer.send(data_tf(pdv(1, 3, store_rq())), pdu(4, b"", claimed), struct.pack(">IBB", claimed - 4, 1, 0))
        dripping = asyncio.create_task(drip(peer, bytes(1 << 20), 0.05, 1000))
        assert await asyncio.wait_for(peer.receive(), 30) == BY_USER
        dripping.cancel()
        await peer.close()
        await target.settled(1)
        assert target.log.ends == [AssociationEnd.TIMED_OUT]


async def test_the_time_of_a_pdu_does_not_run_while_the_sink_is_slow_to_take_it() -> None:
    def make(info: AssociationInfo) -> RecordingHandler:
        return RecordingHandler(info, on_write=lambda sink: asyncio.sleep(0.5))

    async with under_attack(make, bystander=False, pdu_timeout=0.2) as target:
        peer = await target.associated()
        await peer.send(store_message(data=bytes(300_000)))
        assert (await peer.response()).status == Status.SUCCESS
        await peer.release()


async def test_a_slow_instance_that_makes_progress_is_taken() -> None:
    async with under_attack(dimse_timeout=0.6) as target:
        peer = await target.associated()
        await peer.send(data_tf(pdv(1, 3, store_rq())), pdu(4, b"", 20 * 5000 + 6), struct.pack(">IBB", 100_002, 1, 2))
        for _ in range(20):
            await peer.send(bytes(5000))
            await asyncio.sleep(0.06)
        assert (await peer.response()).status == Status.SUCCESS
        await peer.release()


async def test_a_peer_that_reads_nothing_is_dropped_though_it_goes_on_sending() -> None:
    async def many(request: FindRequest) -> AsyncIterator[FindResponse]:
        while True:
            yield FindResponse(Status.PENDING, bytes(100_000))

    def make(info: AssociationInfo) -> RecordingHandler:
        return RecordingHandler(info, matches=many, keep=False)

    async with under_attack(make, network_timeout=2.0) as target:
        peer = await target.peer()
        await peer.send(request_pdu(CONTEXTS, window(4)), data_tf(pdv(5, 3, find_rq(1)), pdv(5, 2, b"keys")))
        await peer.send(data_tf(pdv(1, 3, store_rq(2))), pdu(4, b"", 1 << 24), struct.pack(">IBB", (1 << 24) - 4, 1, 0))
        await until(lambda: any(handler.sinks for handler in target.attackers))
        for _ in range(400):
            if AssociationEnd.TIMED_OUT in target.log.ends:
                break
            await peer.send(b"x")
            await asyncio.sleep(0.02)
        await target.settled(1)
        assert target.log.ends == [AssociationEnd.TIMED_OUT]
        peer.writer.transport.abort()


async def test_connections_are_kept_alive_by_tcp_so_that_a_vanished_peer_is_found_out() -> None:
    async with under_attack() as target:
        peer = await target.associated()
        for association in target.acceptor.connections:
            found = association.protocol.extra_info("socket")
            assert found is not None
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        await peer.release()


async def test_a_peer_that_is_reset_while_nothing_is_read_is_noticed_before_reading_goes_on() -> None:
    disk = asyncio.Event()

    async def stuck(sink: DataSetSink) -> None:
        await disk.wait()

    def make(info: AssociationInfo) -> RecordingHandler:
        waits = info.calling_aet == "PEER"
        return RecordingHandler(info, on_write=stuck if waits else None)

    async with under_attack(make, reset_check_interval=0.05) as target:
        peer = await target.associated()
        await peer.send(data_tf(pdv(1, 3, store_rq())), data_tf(pdv(1, 0, bytes(5000))))
        await until(lambda: target.attackers[0].sinks and target.attackers[0].sinks[0].size)
        await peer.reset()
        await until(lambda: target.log.ends == [AssociationEnd.LOST])
        disk.set()
        await target.settled(1)
        assert target.attackers[0].sinks[0].end == "abort"


@pytest.mark.parametrize("end", [pdu(7), pdu(9), b""], ids=["abort", "an unknown PDU", "close"])
async def test_an_end_in_the_middle_of_a_large_instance_drops_it_in_constant_memory(end: bytes) -> None:
    def make(info: AssociationInfo) -> RecordingHandler:
        return RecordingHandler(info, keep=False)

    async with under_attack(make) as target:
        peer = await target.associated()
        tracemalloc.start()
        await peer.send(data_tf(pdv(1, 3, store_rq())))
        part = data_tf(pdv(1, 0, bytes(1 << 20)))
        for _ in range(LARGE >> 20):
            await peer.send(part)
        await until(lambda: target.attackers[0].sinks[0].size == LARGE)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12 << 20
        await peer.send(end)
        if end == pdu(9):
            assert await peer.receive() == UNRECOGNIZED_PDU
        await peer.close()
        await target.settled(1)
        assert target.attackers[0].sinks[0].end == "abort"


async def test_who_floods_a_closing_connection_and_reads_nothing_is_answered_once() -> None:
    loop, target = (
        asyncio.get_running_loop(),
        acceptor.Acceptor(AcceptorConfig(check_called_aet=True), RecordingHandler),
    )
    wire = MemoryTransport(AcceptedAssociation(loop, target, ReadTurns(loop, 1 << 16)), loop, reads=False)
    wire.feed(request_pdu(CONTEXTS, called="WRONG"), 1 << 16)
    assert wire.said() == [(3, bytes((0, 1, 1, 7)))]
    wire.feed(pdu(9, b"") * 20_000, 1 << 16)
    assert wire.said() == [UNRECOGNIZED_PDU]
    wire.lose()
