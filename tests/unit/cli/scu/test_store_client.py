"""What is sent, and what becomes of it when the peer does not play along."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from osteon.cli.scu.contexts import MOST_KINDS, proposals
from osteon.cli.scu.files import DicomFile, find_files
from osteon.cli.scu.store_client import StoreClient, StoreResult
from osteon.cli.scu.transfer_report import TransferReport
from osteon.dimse import associate_rq, negotiation
from osteon.dimse.command import CommandElement
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.errors import AssociationRejected, ConnectFailed
from osteon.dimse.handler import Outcome
from osteon.dimse.requestor import Remote
from osteon.dimse.status import Status
from osteon.errors import Invalid
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import BUNDLED, dataset_bytes, storable
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT, SUCCESS, DataSetSink, RawPeer, RecordingHandler, pdu, running
from support.dimse.scripted_acceptor import accept, request, response, scripted


@dataclass
class Stop:
    """Stands for Ctrl-C."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    orderly: bool = False


async def files(*paths: Path) -> AsyncIterator[DicomFile]:
    for found in find_files(paths):
        assert isinstance(found, DicomFile), found
        yield found


async def send(remote: Remote, *paths: Path, stop: Stop | None = None, **options: int) -> list[StoreResult]:
    results: list[StoreResult] = []
    chosen = {"associations": 1, "window": 8, "retries": 2} | options
    await StoreClient(remote, **chosen, interrupt=stop or Stop(), on_result=results.append).run(files(*paths))
    return results


def slices(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    study = ct_slice()
    for number in range(count):
        saved(ct_slice(study=study.StudyInstanceUID, number=number), folder)
    return folder


def local(port: int, **more: float) -> Remote:
    return Remote(aet="OSTEON", host="127.0.0.1", port=port, **more)


@pytest.mark.parametrize("associations", [1, 3])
async def test_every_file_arrives_as_it_is_in_its_own_transfer_syntax(associations: int) -> None:
    paths = [path for path in storable(BUNDLED) if "DICOMDIR" not in path.name]
    async with running(async_operations=4) as acceptor:
        results = await send(local(acceptor.port), *paths, associations=associations)
        kept = {}
        for sink in acceptor.handler.sinks:
            kept.setdefault(sink.request.sop_instance_uid, []).append((sink.context.transfer_syntax, bytes(sink.data)))
    assert [result for result in results if not result.stored] == []
    assert len(results) == len(paths)
    for result in results:
        data = result.found.path.read_bytes()[result.found.offset :]
        assert (result.found.syntax, data + b"\0" * (len(data) % 2)) in kept[result.found.sop_instance]


async def test_what_a_peer_takes_only_as_implicit_vr_is_encoded_so(tmp_path: Path) -> None:
    path = saved(ct_slice(), tmp_path)

    received: list[bytes] = []

    async def script(peer: RawPeer) -> None:
        _, body = await peer.receive()
        unknown = body.replace(EXPLICIT.encode(), b"1.2.840.10008.9.9.9")
        await peer.send(negotiation.agree(AcceptorConfig(), associate_rq.decode(unknown), body).answer)
        context_id, command, data = await request(peer)
        received.append(data or b"")
        await peer.send(response(command, context_id=context_id))
        await released(peer)

    async with scripted(script) as remote:
        (result,) = await send(remote, path)
    assert result.stored, result.reason
    assert read_dataset(BytesIO(received[0]), True, True) == dcmread(path)


async def released(peer: RawPeer) -> None:
    assert (await peer.receive())[0] == 5
    await peer.send(pdu(6))


def test_a_compressed_file_is_proposed_as_it_is_only() -> None:
    (only,) = proposals([(CT, JPEGBaseline8Bit)])
    assert only.transfer_syntaxes == (JPEGBaseline8Bit,)
    assert [p.transfer_syntaxes for p in proposals([(CT, EXPLICIT)])] == [(EXPLICIT,), (IMPLICIT,)]
    assert [p.transfer_syntaxes for p in proposals([(CT, DeflatedExplicitVRLittleEndian)])] == [
        (DeflatedExplicitVRLittleEndian,)
    ]


async def test_more_kinds_than_an_association_has_contexts_for_are_sent_by_several(tmp_path: Path) -> None:
    for number in range(MOST_KINDS + 10):
        saved(ct_slice(SOPClassUID=f"1.2.3.{number}"), tmp_path)
    async with running() as acceptor:
        results = await send(local(acceptor.port), tmp_path)
        assert len(acceptor.log.accepts) == 3  # 32 kinds, those and 32 more, 10
    assert sum(result.stored for result in results) == MOST_KINDS + 10


async def test_what_is_refused_is_told_with_its_reason_and_the_rest_is_sent(tmp_path: Path) -> None:
    async def finish(sink: DataSetSink) -> Outcome:
        return Outcome(Status.OUT_OF_RESOURCES, "disk full") if len(handler.sinks) == 2 else SUCCESS

    handler = RecordingHandler(on_finish=finish)
    async with running(handler) as acceptor:
        results = await send(local(acceptor.port), slices(tmp_path, 5), window=1)
    assert [result.reason for result in results if not result.stored] == ["0xA700 (disk full)"]
    assert sum(result.stored for result in results) == 4


async def test_a_file_of_which_no_context_is_accepted_is_told(tmp_path: Path) -> None:
    saved(ct_slice(SOPClassUID="1.2.3.4.5"), tmp_path)
    saved(ct_slice(), tmp_path)
    async with running(store_unknown_sop_classes=False) as acceptor:
        results = await send(local(acceptor.port), tmp_path)
    assert sorted(result.reason for result in results)[1] == "not accepted: 1.2.3.4.5 in Explicit VR Little Endian"
    assert [result.stored for result in results].count(True) == 1


async def test_after_an_abort_only_what_was_not_answered_is_sent_again(tmp_path: Path) -> None:
    answered: list[str] = []

    async def script(peer: RawPeer) -> None:
        await accept(peer)
        for _ in range(3):
            context_id, command, _ = await request(peer)
            answered.append(command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID))
            await peer.send(response(command, context_id=context_id))
        if len(answered) < 7:
            await peer.send(pdu(7))
            return
        await released(peer)

    async with scripted(script) as remote:
        results = await send(remote, slices(tmp_path, 9), window=1)
    assert [result.stored for result in results] == [True] * 9
    assert len(set(answered)) == len(answered) == 9


async def test_an_instance_that_a_peer_cannot_bear_fails_alone(tmp_path: Path) -> None:
    folder = slices(tmp_path, 20)
    poison = sorted(folder.iterdir())[3].stem

    async def script(peer: RawPeer) -> None:
        await accept(peer, async_operations=8)
        while True:
            context_id, command, _ = await request(peer)
            if command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID) == poison:
                await peer.send(pdu(7))
                return
            await peer.send(response(command, context_id=context_id))

    async with scripted(script) as remote:
        results = await send(remote, folder)
    assert [result.found.sop_instance for result in results if not result.stored] == [poison]
    assert len(results) == 20


async def test_a_peer_that_aborts_everything_is_given_up(tmp_path: Path) -> None:
    async def script(peer: RawPeer) -> None:
        await accept(peer)
        await request(peer)
        await peer.send(pdu(7))

    async with scripted(script) as remote:
        results = await send(remote, slices(tmp_path, 2), retries=1)
    assert [result.status for result in results] == [None, None]
    assert "aborted" in results[0].reason


@pytest.mark.slow
async def test_a_peer_that_stalls_is_told_as_such(tmp_path: Path) -> None:
    async def script(peer: RawPeer) -> None:
        await accept(peer)
        await request(peer)
        await asyncio.sleep(30)

    async with scripted(script) as remote:
        stalling = Remote(aet=remote.aet, host=remote.host, port=remote.port, timeout=0.2)
        (result,) = await send(stalling, slices(tmp_path, 1), retries=0)
    assert result.status is None
    assert "timed" in result.reason


async def test_without_any_association_the_error_comes_out(tmp_path: Path) -> None:
    folder = slices(tmp_path, 1)
    async with running(max_associations=0) as acceptor:
        with pytest.raises(AssociationRejected):
            await send(local(acceptor.port), folder, associations=2)
    with pytest.raises(ConnectFailed):
        await send(local(acceptor.port), folder, associations=2)


@pytest.mark.slow
async def test_associations_that_are_too_many_wait_for_the_others(tmp_path: Path) -> None:
    folder = slices(tmp_path, 100)
    async with running(max_associations=1) as acceptor:
        results = await send(local(acceptor.port), folder, associations=3)
        assert acceptor.log.rejects
    assert sum(result.stored for result in results) == 100


async def test_ctrl_c_completes_what_has_begun_and_releases(tmp_path: Path) -> None:
    stop = Stop()

    async def finish(sink: DataSetSink) -> Outcome:
        stop.requested.set()
        await asyncio.sleep(0.05)
        return SUCCESS

    async with running(RecordingHandler(on_finish=finish)) as acceptor:
        results = await send(local(acceptor.port), slices(tmp_path, 50), stop=stop, window=1)
        await asyncio.sleep(0)
        assert [how.value for how in acceptor.log.ends] == ["released"]
    assert [result.stored for result in results] == [True]


async def test_a_file_that_vanishes_fails_alone(tmp_path: Path) -> None:
    folder = slices(tmp_path, 3)

    async def looked_at() -> AsyncIterator[DicomFile]:
        async for found in files(folder):
            if found.path == sorted(folder.iterdir())[0]:
                gone.append(found)
            yield found
        gone[0].path.unlink()

    gone: list[DicomFile] = []
    results: list[StoreResult] = []
    async with running() as acceptor:
        sending = StoreClient(
            local(acceptor.port), associations=1, window=1, retries=2, interrupt=Stop(), on_result=results.append
        )
        await sending.run(looked_at())
    assert {result.found.sop_instance: result.reason for result in results if not result.stored} == {
        gone[0].sop_instance: "No such file or directory"
    }
    assert len(results) == 3


async def test_a_big_file_is_sent_in_parts_as_it_is(tmp_path: Path) -> None:
    dataset = ct_slice()
    dataset.PixelData = bytes(range(256)) * (5 << 12) + b"\0\0"
    path = saved(dataset, tmp_path)
    async with running() as acceptor:
        (result,) = await send(local(acceptor.port), path)
        assert bytes(acceptor.handler.sinks[0].data) == dataset_bytes(path)
    assert result.stored


def result_for(path: Path, status: Status | None) -> StoreResult:
    return StoreResult(DicomFile(path, 10, 0, CT, "1.2.3", EXPLICIT), status, "" if status == 0 else "no")


async def test_a_report_knows_what_was_stored_and_only_that(tmp_path: Path) -> None:
    report = tmp_path / "report"
    ledger = TransferReport(report, "A@host:1")
    ledger.open()
    ledger.start()
    ledger.add(result_for(Path("a"), Status.SUCCESS))
    ledger.add(result_for(Path("b"), Status.OUT_OF_RESOURCES))
    ledger.add(result_for(Path("c"), None))
    await ledger.close()
    with report.open("a") as file:
        file.write('{"path": "cut off by a cra')
    again = TransferReport(report, "A@host:1")
    again.open()
    assert [again.contains(result_for(Path(name), None).found) for name in "abc"] == [True, False, False]
    assert not again.contains(DicomFile(Path("a"), 11, 0, CT, "1.2.3", EXPLICIT))
    assert json.loads(report.read_text().splitlines()[2])["reason"] == "no"
    with pytest.raises(Invalid, match="is not a report of a transfer to B@host:1"):
        TransferReport(report, "B@host:1").open()
