"""The listening side: limits, health checks, closing."""

import asyncio
import gc
import socket

import pytest
import uvloop

from osteon.dimse.handler import Outcome
from osteon.dimse.observer import AssociationEnd, AssociationLimit, RejectReason
from osteon.dimse.status import Status
from support.dimse.raw_peer import (
    DataSetSink,
    RawPeer,
    RecordingHandler,
    data_tf,
    echo_rq,
    pdu,
    pdv,
    request_pdu,
    running,
    store_message,
)


async def slow_finish(sink: DataSetSink) -> Outcome:
    await asyncio.sleep(0.1)
    return Outcome(Status.SUCCESS)


async def conversation() -> None:
    async with running(RecordingHandler(on_finish=slow_finish)) as service:
        peer = await service.peer()
        await peer.associate()
        (association,) = service.acceptor.connections
        assert association.protocol.extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await peer.send(data_tf(pdv(3, 3, echo_rq())))
        assert (await peer.response()).status == Status.SUCCESS
        await peer.send(store_message(2, data=bytes(300_000)))
        assert (await peer.response()).status == Status.SUCCESS
        assert service.handler.sinks[0].size == 300_000
        await peer.release()
        await service.handler.ended.wait()
        assert service.log.ends == [AssociationEnd.RELEASED]


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_it_runs_on_every_event_loop(factory: object) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]
        runner.run(conversation())


async def test_associations_beyond_the_maximum_are_rejected_until_one_ends() -> None:
    async with running(max_associations=2) as service:
        peers = [await service.peer() for _ in range(3)]
        for peer in peers[:2]:
            await peer.associate()
        assert service.acceptor.associations == 2
        await peers[2].send(request_pdu())
        assert await peers[2].receive() == (3, bytes((0, 2, 3, 2)))
        assert service.log.rejects == [RejectReason.LOCAL_LIMIT_EXCEEDED]
        await peers[0].release()
        assert service.acceptor.associations == 1
        again = await service.peer()
        await again.associate()
        for peer in (*peers, again):
            await peer.close()


async def test_one_host_that_has_all_it_may_have_does_not_shut_out_another() -> None:
    async with running(max_associations=5, max_associations_per_host=2) as service:
        hosts = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"]
        peers = [await service.peer(host) for host in hosts]
        for number in (0, 1, 3, 4):
            await peers[number].associate()
        await peers[2].send(request_pdu())
        assert await peers[2].receive() == (3, bytes((0, 2, 3, 2)))
        assert service.log.limits == [AssociationLimit.HOST]
        await peers[0].release()
        again = await service.peer()
        await again.associate()
        other, late = await service.peer("127.0.0.3"), await service.peer("127.0.0.4")
        await other.associate()
        await late.send(request_pdu())
        assert (await late.receive())[0] == 3
        assert service.log.limits == [AssociationLimit.HOST, AssociationLimit.TOTAL]
        for peer in (*peers, again, other, late):
            await peer.close()


@pytest.mark.slow
async def test_two_thousand_health_checks_leave_nothing_behind() -> None:
    async with running() as service:

        async def check() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.close()
            await writer.wait_closed()

        for _ in range(40):
            await asyncio.gather(*(check() for _ in range(50)))
        while service.acceptor.connections:
            await asyncio.sleep(0.01)
        gc.collect()
        left = [thing for thing in gc.get_objects() if type(thing).__name__ == "AcceptedAssociation"]
        assert len(left) <= 1
        assert not service.acceptor.handlers_closing
        assert service.log.accepts == service.log.ends == []


async def test_close_lets_associations_finish_within_the_grace() -> None:
    async with running(RecordingHandler(on_finish=slow_finish)) as service:
        peer, idle = await service.peer(), await service.peer()
        await peer.associate()
        await peer.send(store_message(), pdu(5))
        closing = asyncio.create_task(service.acceptor.close(5))
        assert (await peer.response()).status == Status.SUCCESS
        assert (await peer.receive())[0] == 6
        await peer.close()
        assert await idle.at_end()
        await closing
        assert service.handler.ended.is_set()
        assert service.log.ends == [AssociationEnd.RELEASED]
        with pytest.raises(OSError):
            await service.peer()


async def test_close_aborts_what_is_left_after_the_grace_and_closes_its_handler() -> None:
    async with running() as service:
        peer = await service.peer()
        await peer.associate()
        await peer.send(data_tf(pdv(3, 3, echo_rq())))
        await peer.response()
        closing = asyncio.create_task(service.acceptor.close(0.05))
        assert await peer.receive() == (7, bytes(4))
        await peer.close()
        await closing
        assert service.handler.ended.is_set()
        assert service.log.ends == [AssociationEnd.SHUT_DOWN]
        assert service.acceptor.associations == 0


async def test_a_peer_that_requests_while_the_acceptor_closes_is_rejected_as_congested() -> None:
    async with running() as service:
        peer = await service.peer()
        await peer.associate()
        port = await service.acceptor.start("127.0.0.1", 0, proxied=True)
        late = RawPeer(*await asyncio.open_connection("127.0.0.1", port))
        await late.send(b"PROXY ")
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(service.acceptor.close(5))
        await asyncio.sleep(0)
        await late.send(b"UNKNOWN\r\n", request_pdu()[:50])
        while len(service.acceptor.connections) < 2:
            await asyncio.sleep(0.01)
        await late.send(request_pdu()[50:])
        assert await late.receive() == (3, bytes((0, 2, 3, 1)))
        await late.close()
        await peer.close()
        await closing


async def test_a_second_acceptor_cannot_take_the_port() -> None:
    async with running() as service:
        with pytest.raises(OSError):
            await type(service.acceptor)(service.acceptor.config, RecordingHandler).start("127.0.0.1", service.port)
