"""Peers that refuse, stall, vanish, abort and answer nonsense, as their requestor sees it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from osteon.dimse import pdu as pdus
from osteon.dimse.connect_failure import describe_connect_failure
from osteon.dimse.handler import EventReport, Outcome
from osteon.dimse.observer import RejectReason
from osteon.dimse.requestor import (
    AssociationAborted,
    AssociationRejected,
    ConnectFailed,
    NoAnswer,
    Remote,
    RequestorConfig,
    associate,
)
from osteon.dimse.status import Status
from osteon.errors import Invalid
from support.dimse.raw_peer import CT, STUDY_FIND, SUCCESS, RawPeer, command_set, data_tf, pdu, pdv, running
from support.dimse.scripted_acceptor import ALL, accept, acceptance, request, response, scripted

QUICK = RequestorConfig(artim_timeout=0.2, dimse_timeout=0.2, network_timeout=0.2)


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(100_000)


async def test_a_port_that_is_closed_is_a_failed_connection() -> None:
    async with running() as service:
        nobody = Remote(aet="X", host="127.0.0.1", port=service.port)
    with pytest.raises(ConnectFailed, match=f"^nothing listens at 127.0.0.1:{nobody.port}$"):
        async with associate(nobody, ALL):
            pass


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 104), ("", 0)])
async def test_an_address_that_leads_nowhere_is_a_failed_connection(host: str, port: int) -> None:
    with pytest.raises(ConnectFailed):
        async with associate(Remote(aet="X", host=host, port=port), ALL):
            pass


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("a" * 80 + ".example", 104)])
async def test_an_address_that_is_none_is_invalid(host: str, port: int) -> None:
    with pytest.raises((Invalid, ConnectFailed)):
        async with associate(Remote(aet="X", host=host, port=port), ALL):
            pass


@pytest.mark.parametrize("reason", list(RejectReason), ids=lambda reason: reason.name)
async def test_a_rejection_says_why(reason: RejectReason) -> None:
    async def reject(peer: RawPeer) -> None:
        await peer.receive()
        await peer.send(pdus.reject(*reason.value))

    async with scripted(reject) as remote:
        with pytest.raises(AssociationRejected) as caught:
            async with associate(remote, ALL):
                pass
        error = caught.value
        assert (error.result, error.source, error.reason) == reason.value
        assert error.permanent is (reason.value[0] == 1)
        if reason is RejectReason.CALLED_AET_NOT_RECOGNIZED:
            assert str(error) == "association rejected permanently: called AE title not recognized"


async def test_a_rejection_for_reasons_that_are_unknown_is_still_one() -> None:
    async def reject(peer: RawPeer) -> None:
        await peer.receive()
        await peer.send(pdus.reject(9, 9, 9))

    async with scripted(reject) as remote:
        with pytest.raises(AssociationRejected, match="source 9, reason 9"):
            async with associate(remote, ALL):
                pass


async def nothing(peer: RawPeer) -> None:
    await peer.receive()
    await peer.reader.read()


async def close(peer: RawPeer) -> None:
    await peer.receive()


async def abort(peer: RawPeer) -> None:
    await peer.receive()
    await peer.send(pdu(7))


async def half_an_answer(peer: RawPeer) -> None:
    answer = await acceptance(peer)
    await peer.send(answer[: len(answer) // 2])


async def half_an_answer_and_wait(peer: RawPeer) -> None:
    await half_an_answer(peer)
    await peer.reader.read()


async def garbage(peer: RawPeer) -> None:
    await peer.receive()
    await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
    await peer.reader.read()


async def too_long(peer: RawPeer) -> None:
    await peer.receive()
    await peer.send(struct.pack(">BxI", 2, 0xFFFFFFFF) + bytes(100_000))
    await peer.reader.read()


async def broken(peer: RawPeer) -> None:
    await peer.receive()
    await peer.send(pdu(2, bytes(68) + b"\x21\0\xff\xff\1"))
    await peer.reader.read()


async def ssh(peer: RawPeer) -> None:
    await peer.send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await peer.receive()


async def tls_alert(peer: RawPeer) -> None:
    await peer.receive()
    await peer.send(bytes.fromhex("15 03 01 00 02 02 0a"))
    await peer.reader.read()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (garbage, "the peer did not answer in DICOM; is the port right?"),
        (ssh, "the peer did not answer in DICOM; is the port right?"),
        (tls_alert, "the peer answered in TLS; it must be called with TLS"),
        (close, "the peer closed the connection instead of answering; are the port and the use of TLS right?"),
        (abort, "A-ABORT by the user"),
        (nothing, "the association request was not answered within 0.2 s"),
    ],
)
async def test_the_reader_learns_in_words_why_there_is_no_association(
    script: Callable[[RawPeer], Awaitable[None]], words: str
) -> None:
    async with scripted(script) as remote:
        with pytest.raises((AssociationAborted, NoAnswer)) as caught:
            async with associate(remote, ALL, QUICK):
                pass
    assert str(caught.value) == f"{remote.host}:{remote.port}: {words}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('::1', 104, 0, 0)"), "nothing listens at [::1]:104"),
        (OSError("Multiple exceptions: [Errno 111] ('::1'), [Errno 101] ('1.2.3.4')"), "nothing listens at [::1]:104"),
        (OSError(113, "No route to host"), "there is no route to [::1]:104"),
        (TimeoutError(), "[::1]:104 did not answer within 3 s; is the address right, and no firewall between?"),
        (socket.gaierror(-2, "Name or service not known"), "the host name '::1' is not known"),
        (socket.gaierror(-3, "Temporary failure"), "the host name '::1' cannot be looked up now"),
        (
            ConnectionResetError(104, "x"),
            "[::1]:104 closed the connection during the TLS handshake; does it speak TLS?",
        ),
        (OSError(24, "x"), "[::1]:104: Too many open files"),
    ],
)
def test_a_connection_that_cannot_be_made_is_explained_without_numbers(error: OSError, words: str) -> None:
    shown = describe_connect_failure(error, "::1", 104, seconds=3, secure=True)
    assert shown.startswith(words)
    assert "Errno" not in shown


async def data_first(peer: RawPeer) -> None:
    await peer.receive()
    await peer.send(data_tf(pdv(1, 3, b"what")))
    await peer.reader.read()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (nothing, NoAnswer),
        (half_an_answer_and_wait, NoAnswer),
        (close, AssociationAborted),
        (abort, AssociationAborted),
        (half_an_answer, AssociationAborted),
        (garbage, AssociationAborted),
        (too_long, AssociationAborted),
        (broken, AssociationAborted),
        (data_first, AssociationAborted),
    ],
    ids=lambda value: value.__name__,
)
async def test_a_peer_that_does_not_answer_the_request_gives_no_association(
    script: object, error: type[Exception]
) -> None:
    async with scripted(script) as remote:  # type: ignore[arg-type]
        with pytest.raises(error):
            async with associate(remote, ALL, QUICK):
                pass


async def test_the_time_of_a_remote_counts_instead_of_the_default() -> None:
    async with scripted(nothing) as remote:
        with pytest.raises(NoAnswer):
            async with associate(replace(remote, timeout=0.1), ALL):
                pass


async def test_a_peer_that_takes_too_long_to_answer_is_aborted() -> None:
    seen: list[tuple[int, bytes]] = []

    async def stall(peer: RawPeer) -> None:
        await accept(peer)
        await request(peer)
        seen.append(await peer.receive())

    async with scripted(stall) as remote, associate(remote, ALL, QUICK) as association:
        with pytest.raises(NoAnswer):
            await association.echo()
    assert seen == [(7, bytes(4))]


async def test_each_response_gives_the_peer_its_time_again() -> None:
    async def slowly(peer: RawPeer) -> None:
        await accept(peer)
        context_id, command, _ = await request(peer)
        for _ in range(6):
            await asyncio.sleep(0.1)
            await peer.send(response(command, 0xFF00, context_id=context_id, e1020=1))
        await peer.send(response(command, context_id=context_id))
        await peer.reader.read()

    async with scripted(slowly) as remote, associate(remote, ALL, QUICK) as association:
        found = [r.status async for r in association.find(association.context_for(STUDY_FIND), b"id")]
        assert found == [Status.PENDING] * 6 + [Status.SUCCESS]
        await association.abort()


async def test_a_peer_that_does_not_read_is_aborted() -> None:
    async def deaf(peer: RawPeer) -> None:
        await accept(peer)
        await asyncio.sleep(0.6)

    async with scripted(deaf) as remote, associate(remote, ALL, QUICK) as association:
        with pytest.raises(NoAnswer):
            await association.store(association.context_for(CT), CT, "1.2", endless())


async def leave(peer: RawPeer) -> None:
    await peer.close()


async def reset(peer: RawPeer) -> None:
    await peer.reset()


async def send_abort(peer: RawPeer) -> None:
    await peer.send(pdu(7))


@pytest.mark.parametrize("how", [leave, reset, send_abort], ids=lambda how: how.__name__)
async def test_a_peer_that_goes_away_within_a_data_set_ends_the_operation(how: object) -> None:
    async def go(peer: RawPeer) -> None:
        await accept(peer)
        await peer.receive()
        await peer.receive()
        await how(peer)  # type: ignore[operator]

    async with scripted(go) as remote, associate(remote, ALL) as association:
        with pytest.raises(AssociationAborted):
            await association.store(association.context_for(CT), CT, "1.2", endless())
        assert not association.open


async def test_a_connection_that_breaks_while_no_write_has_to_wait_ends_the_operation() -> None:
    peers: list[RawPeer] = []

    async def go(peer: RawPeer) -> None:
        await accept(peer)
        peers.append(peer)
        await peer.reader.read()

    async def broken_off() -> AsyncIterator[bytes]:
        yield bytes(100_000)
        peers[0].writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        async for part in endless():
            yield part

    async with scripted(go) as remote, associate(remote, ALL) as association:
        with pytest.raises(AssociationAborted):
            await association.store(association.context_for(CT), CT, "1.2", broken_off())


@pytest.mark.parametrize("how", [leave, reset, send_abort], ids=lambda how: how.__name__)
async def test_a_peer_that_goes_away_between_responses_ends_the_operation(how: object) -> None:
    async def go(peer: RawPeer) -> None:
        await accept(peer)
        context_id, command, _ = await request(peer)
        await peer.send(response(command, 0xFF00, context_id=context_id))
        await asyncio.sleep(0.01)
        await how(peer)  # type: ignore[operator]

    async with scripted(go) as remote, associate(remote, ALL) as association:
        responses = association.find(association.context_for(STUDY_FIND), b"id")
        assert (await anext(responses)).status is Status.PENDING
        with pytest.raises(AssociationAborted):
            await anext(responses)


@pytest.mark.parametrize(
    "answer",
    [
        lambda c: response(c, e0120=c.message_id + 1),
        lambda c: response(c, e0100=0x8020),
        lambda c: response(c, 0xFF00),
        lambda c: response(c, context_id=3),
        lambda c: response(c, context_id=77),
        lambda c: data_tf(pdv(1, 3, command_set({0x0100: 0x8030, 0x0120: c.message_id, 0x0800: 0x0101}))),
        lambda c: data_tf(pdv(1, 2, b"data set of nothing")),
        lambda c: data_tf(pdv(1, 3, b"\xff" * 40)),
        lambda c: data_tf(pdv(1, 1, bytes(70_000))),
        lambda c: pdu(1, bytes(68)),
        lambda c: pdu(9),
    ],
    ids=[
        "another message id",
        "another operation",
        "pending",
        "another context",
        "no context",
        "no status",
        "no command set",
        "rubbish",
        "a command set that is too long",
        "A-ASSOCIATE-RQ",
        "no PDU",
    ],
)
async def test_a_nonsensical_answer_is_aborted(answer: object) -> None:
    seen: list[tuple[int, bytes]] = []

    async def nonsense(peer: RawPeer) -> None:
        await accept(peer)
        _, command, _ = await request(peer)
        await peer.send(answer(command))  # type: ignore[operator]
        seen.append(await peer.receive())

    async with scripted(nonsense) as remote, associate(remote, ALL) as association:
        with pytest.raises(AssociationAborted):
            await association.echo()
    assert [(kind, body[2]) for kind, body in seen] == [(7, 2)]


@pytest.mark.slow
async def test_a_response_with_a_data_set_that_is_too_long_is_aborted() -> None:
    async def long(peer: RawPeer) -> None:
        await accept(peer)
        context_id, command, _ = await request(peer)
        await peer.send(response(command, 0xFF00, data=True, context_id=context_id))
        await peer.send(data_tf(pdv(context_id, 0, bytes(2000))), data_tf(pdv(context_id, 0, bytes(2000))))
        await peer.reader.read()

    config = RequestorConfig(max_identifier=3000)
    async with scripted(long) as remote, associate(remote, ALL, config) as association:
        with pytest.raises(AssociationAborted, match="more than 3000 bytes"):
            await anext(association.find(association.context_for(STUDY_FIND), b"id"))


@pytest.mark.slow
async def test_an_answer_before_the_end_of_the_data_set_counts() -> None:
    gate = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield bytes(300_000)
        await gate.wait()
        yield b"rest"

    async def early(peer: RawPeer) -> None:
        await accept(peer)
        _, _, body = 0, 0, (await peer.receive())[1]
        context_id = body[4]
        await peer.receive()
        message_id = command_set({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0xA700})
        await peer.send(data_tf(pdv(context_id, 3, message_id)))
        await asyncio.sleep(0.02)
        gate.set()
        await peer.reader.read()

    async with scripted(early) as remote, associate(remote, ALL) as association:
        outcome = await association.store(association.context_for(CT), CT, "1.2", source())
        assert outcome.status is Status.OUT_OF_RESOURCES
        await association.abort()


async def test_releases_that_cross_end_in_a_release() -> None:
    seen: list[int] = []

    async def cross(peer: RawPeer) -> None:
        await accept(peer)
        seen.append((await peer.receive())[0])
        await peer.send(pdu(5))
        seen.append((await peer.receive())[0])
        await peer.send(pdu(6))

    async with scripted(cross) as remote, associate(remote, ALL):
        pass
    assert seen == [5, 6]


async def test_a_release_that_crosses_an_event_report_is_answered_after_the_handler() -> None:
    seen: list[int] = []
    done = asyncio.Event()

    async def slow(report: EventReport) -> Outcome:
        await asyncio.sleep(0.02)
        done.set()
        return SUCCESS

    async def cross(peer: RawPeer) -> None:
        await accept(peer)
        seen.append((await peer.receive())[0])
        values = {0x0002: CT, 0x0100: 0x0100, 0x0110: 1, 0x0800: 0x0101, 0x1000: "1.2", 0x1002: 1}
        await peer.send(data_tf(pdv(3, 3, command_set(values))), pdu(5))
        seen.append((await peer.receive())[0])
        assert done.is_set()
        await peer.send(pdu(6))

    async with scripted(cross) as remote, associate(remote, ALL, reports=slow):
        pass
    assert seen == [5, 6]


async def test_a_release_that_is_not_answered_ends_in_an_abort() -> None:
    seen: list[int] = []

    async def silent(peer: RawPeer) -> None:
        await accept(peer)
        seen.append((await peer.receive())[0])
        seen.append((await peer.receive())[0])

    async with scripted(silent) as remote, associate(remote, ALL, QUICK):
        pass
    assert seen == [5, 7]


async def test_a_cancelled_operation_that_does_not_end_is_aborted_on_leaving() -> None:
    seen: list[int] = []

    async def stubborn(peer: RawPeer) -> None:
        await accept(peer)
        context_id, command, _ = await request(peer)
        await peer.send(response(command, 0xFF00, context_id=context_id))
        _, cancel, _ = await request(peer)
        seen.append(cancel.field)
        seen.append((await peer.receive())[0])

    async with scripted(stubborn) as remote, associate(remote, ALL, QUICK) as association:
        responses = association.find(association.context_for(STUDY_FIND), b"id")
        await anext(responses)
        await responses.aclose()
    assert seen == [0x0FFF, 7]


async def test_pdus_are_no_longer_than_the_peer_takes() -> None:
    lengths: list[int] = []

    async def small(peer: RawPeer) -> None:
        await accept(peer, max_pdu=4096)
        while True:
            kind, body = await peer.receive()
            lengths.append(len(body))
            if kind != 4 or body[5] == 2:
                break
        await peer.send(data_tf(pdv(3, 3, command_set({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}))))
        await peer.receive()
        await peer.send(pdu(6))

    async with scripted(small) as remote, associate(remote, ALL) as association:
        outcome = await association.store(association.context_for(CT), CT, "1.2", parts_of(bytes(50_000), bytes(7)))
        assert outcome.status is Status.SUCCESS
    assert max(lengths) == 4096
    assert lengths.count(4096) == 50_008 // 4090
