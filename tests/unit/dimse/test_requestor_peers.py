"""The requestor against pynetdicom in a thread, and against DCMTK and Orthanc as processes."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode as encode_data_set
from pynetdicom.presentation import build_context

from osteon.dimse.handler import Outcome, PresentationContext, StoreRequest, StoreSink
from osteon.dimse.requestor import (
    AssociationAborted,
    AssociationRejected,
    ConnectFailed,
    Remote,
    RequestedAssociation,
    RequestedContext,
    RequestorError,
    associate,
)
from osteon.dimse.status import Status
from osteon_local.part import free_port
from support.dimse.pynetdicom_acceptor import accepting
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    SUCCESS,
    VERIFICATION,
    DataSetSink,
    RecordingHandler,
    running,
)

STUDY_MOVE, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
COMMITMENT = "1.2.840.10008.1.20.1"
CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))
ECHO = RequestedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,))
STORE = RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,))
RECEIVE = RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,), scp=True)
FIND = RequestedContext(abstract_syntax=STUDY_FIND, transfer_syntaxes=(IMPLICIT,))
MOVE = RequestedContext(abstract_syntax=STUDY_MOVE, transfer_syntaxes=(IMPLICIT,))
GET = RequestedContext(abstract_syntax=STUDY_GET, transfer_syntaxes=(IMPLICIT,))
COMMIT = RequestedContext(abstract_syntax=COMMITMENT, transfer_syntaxes=(EXPLICIT,))


def needs(program: str) -> list[pytest.MarkDecorator]:
    missing = shutil.which(program) is None
    return [pytest.mark.slow, pytest.mark.skipif(missing, reason=f"{program} is not installed")]


def identifier(**keys: str) -> bytes:
    query = Dataset()
    for name, value in keys.items():
        setattr(query, name, value)
    return bytes(encode_data_set(query, True, True))


def read(data: bytes) -> Dataset:
    return read_dataset(BytesIO(data), True, True)


def data_set_of(path: Path) -> bytes:
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, False)
        pydicom.filereader._read_file_meta_info(file)
        return file.read()


async def whole(data: bytes, step: int = 10_000) -> AsyncIterator[memoryview]:
    view = memoryview(data)
    for at in range(0, len(data), step):
        yield view[at : at + step]


@contextmanager
def pynetdicom(*handlers: tuple[object, Callable[..., object]]) -> Iterator[Remote]:
    """Run pynetdicom as an acceptor of everything these tests propose."""
    entity = AE(ae_title="PYNET")
    for uid in (VERIFICATION, STUDY_FIND, STUDY_MOVE, STUDY_GET, COMMITMENT):
        entity.add_supported_context(uid, [IMPLICIT, EXPLICIT])
    entity.add_supported_context(CT, [EXPLICIT], scu_role=True, scp_role=True)
    with accepting(entity, *handlers) as port:
        yield Remote(aet="PYNET", host="127.0.0.1", port=port)


async def test_pynetdicom_is_echoed_stored_to_and_searched() -> None:
    stored: list[tuple[str, bytes]] = []

    def on_store(event: evt.Event) -> int:
        stored.append((event.request.AffectedSOPInstanceUID, event.request.DataSet.getvalue()))
        return 0xB000

    def on_find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for name in ("A^B", "C^D"):
            match = Dataset()
            match.PatientName = name + str(event.identifier.PatientName)
            yield 0xFF00, match

    data = data_set_of(CT_FILE)
    with pynetdicom((evt.EVT_C_STORE, on_store), (evt.EVT_C_FIND, on_find)) as remote:
        async with associate(remote, [ECHO, STORE, FIND]) as association:
            assert await association.echo() == SUCCESS
            outcome = await association.store(association.context_for(CT), CT, "1.2.3", whole(data), length=len(data))
            assert outcome.status == 0xB000
            query = identifier(QueryRetrieveLevel="STUDY", PatientName="*")
            found = [r async for r in association.find(association.context_for(STUDY_FIND), query)]
    assert stored == [("1.2.3", data)]
    assert [str(read(r.identifier).PatientName) for r in found[:-1]] == ["A^B*", "C^D*"]
    assert [r.status for r in found] == [Status.PENDING, Status.PENDING, Status.SUCCESS]


def ct(uid: str) -> Dataset:
    dataset = pydicom.dcmread(CT_FILE)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    return dataset


class Sinks:
    """Keeps what a C-GET brings, in the sinks of the acceptor's tests."""

    def __init__(self, **behaviour: object) -> None:
        self.recorder = RecordingHandler(**behaviour)

    def __call__(self, request: StoreRequest, context: PresentationContext) -> StoreSink | Outcome:
        return self.recorder.store(request, context)


async def test_instances_are_requested_of_pynetdicom_which_receives_the_status_of_each() -> None:
    def on_get(event: evt.Event) -> Iterator[object]:
        yield 3
        for number in range(3):
            yield 0xFF00, ct(f"1.2.{number}")

    async def finish(sink: DataSetSink) -> Outcome:
        await asyncio.sleep(0.01)
        failed = sink.request.sop_instance_uid == "1.2.1"
        return Outcome(Status.OUT_OF_RESOURCES, "disk full") if failed else SUCCESS

    sinks = Sinks(on_finish=finish)
    with pynetdicom((evt.EVT_C_GET, on_get)) as remote:
        async with associate(remote, [GET, RECEIVE, ECHO]) as association:
            assert association.context_for(CT).scp
            query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")
            responses = [r async for r in association.get(association.context_for(STUDY_GET), query, sinks)]
            assert await association.echo() == SUCCESS
    assert [sink.request.sop_instance_uid for sink in sinks.recorder.sinks] == ["1.2.0", "1.2.1", "1.2.2"]
    assert pydicom.dcmread(BytesIO(bytes(sinks.recorder.sinks[2].data)), force=True).PatientID == "1CT1"
    final = responses[-1]
    assert (final.status, final.completed, final.failed, final.remaining) == (0xB000, 2, 1, 0)
    assert final.failed_uids == ("1.2.1",)
    assert [(r.status, r.remaining) for r in responses[:-1]][-1] == (Status.PENDING, 0)


async def test_closing_a_get_cancels_it_and_the_next_gets_nothing_of_it() -> None:
    cancelled = asyncio.Event()
    loop = asyncio.get_running_loop()
    gets: list[int] = []

    def on_get(event: evt.Event) -> Iterator[object]:
        gets.append(len(gets) + 1)
        yield 500 if gets == [1] else 2
        for number in range(500 if gets == [1] else 2):
            if event.is_cancelled:
                loop.call_soon_threadsafe(cancelled.set)
                yield 0xFE00, None
                return
            yield 0xFF00, ct(f"1.{gets[-1]}.{number}")

    sinks, others = Sinks(keep=False), Sinks(keep=False)
    with pynetdicom((evt.EVT_C_GET, on_get)) as remote:
        async with associate(remote, [GET, RECEIVE, ECHO]) as association:
            query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")
            async with aclosing(association.get(association.context_for(STUDY_GET), query, sinks)) as responses:
                assert (await anext(responses)).status is Status.PENDING
            seen = len(sinks.recorder.sinks)
            second = [r async for r in association.get(association.context_for(STUDY_GET), query, others)]
            assert cancelled.is_set()
            assert len(sinks.recorder.sinks) == seen
    assert (second[-1].status, second[-1].completed) == (Status.SUCCESS, 2)
    assert [sink.request.sop_instance_uid for sink in others.recorder.sinks] == ["1.2.0", "1.2.1"]


async def test_pynetdicom_moves_and_says_what_failed() -> None:
    received: list[str] = []

    def on_store(event: evt.Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0xA700 if event.request.AffectedSOPInstanceUID == "1.2.0" else 0

    def on_move(event: evt.Event) -> Iterator[object]:
        if event.move_destination != "SINK":
            yield None, None
            return
        yield "127.0.0.1", sink.port, {"contexts": [build_context(CT, EXPLICIT)]}
        yield 2
        for number in range(2):
            yield 0xFF00, ct(f"1.2.{number}")

    query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2")
    with pynetdicom((evt.EVT_C_STORE, on_store)) as sink, pynetdicom((evt.EVT_C_MOVE, on_move)) as remote:
        async with associate(remote, [MOVE]) as association:
            context = association.context_for(STUDY_MOVE)
            (unknown,) = [r async for r in association.move(context, query, "NOBODY")]
            assert unknown.status is Status.MOVE_DESTINATION_UNKNOWN
            responses = [r async for r in association.move(context, query, "SINK")]
    assert sorted(received) == ["1.2.0", "1.2.1"]
    assert (responses[-1].completed, responses[-1].failed, responses[-1].failed_uids) == (1, 1, ("1.2.0",))


def pynetdicom_context() -> object:

    return build_context(CT, EXPLICIT)


async def test_an_action_is_requested_of_pynetdicom() -> None:
    heard: list[tuple[int, str]] = []

    def on_action(event: evt.Event) -> tuple[int, None]:
        heard.append((event.action_type, event.action_information.TransactionUID))
        return 0, None

    request = Dataset()
    request.TransactionUID = "1.2.3"
    data_set = bytes(encode_data_set(request, False, True))
    with pynetdicom((evt.EVT_N_ACTION, on_action)) as remote:
        async with associate(remote, [COMMIT]) as association:
            context = association.context_for(COMMITMENT)
            outcome, reply = await association.action(context, COMMITMENT, "1.2.840.10008.1.20.1.1", 1, data_set)
            assert (outcome, reply) == (SUCCESS, None)
    assert heard == [(1, "1.2.3")]


async def test_a_report_is_sent_in_the_role_of_the_provider() -> None:
    heard: list[tuple[int, str]] = []

    def on_report(event: evt.Event) -> tuple[int, None]:
        heard.append((event.event_type, event.event_information.TransactionUID))
        return 0, None

    information = Dataset()
    information.TransactionUID = "1.2.3"
    entity = AE(ae_title="PYNET")
    entity.add_supported_context(COMMITMENT, [EXPLICIT], scu_role=False, scp_role=True)
    with accepting(entity, (evt.EVT_N_EVENT_REPORT, on_report)) as port:
        remote = Remote(aet="PYNET", host="127.0.0.1", port=port)
        provider = RequestedContext(abstract_syntax=COMMITMENT, transfer_syntaxes=(EXPLICIT,), scu=False, scp=True)
        async with associate(remote, [provider]) as association:
            (context,) = association.contexts
            assert (context.scu, context.scp) == (False, True)
            data_set = bytes(encode_data_set(information, False, True))
            outcome, _ = await association.report(context, COMMITMENT, "1.2.840.10008.1.20.1.1", 2, data_set)
            assert outcome == SUCCESS
    assert heard == [(2, "1.2.3")]


@asynccontextmanager
async def process(aet: str, port: int, *command: str, folder: Path) -> AsyncIterator[Remote]:
    """Run a program until it answers C-ECHO, and for the block."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (folder / "log").open("wb") as log:
        running = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=log, stderr=log)
    remote = Remote(aet=aet, host="127.0.0.1", port=port)
    try:
        async with asyncio.timeout(20):
            await until_answered(remote)
        yield remote
    finally:
        running.terminate()
        await running.wait()


async def until_answered(remote: Remote) -> None:
    while True:
        try:
            async with associate(remote, [ECHO]) as association:
                await association.echo()
                return
        except RequestorError:
            await asyncio.sleep(0.05)


async def store(association: RequestedAssociation, count: int) -> tuple[str, dict[str, bytes]]:
    """Store a new study; return its UID and the data sets by SOP Instance UID."""
    study, sent = generate_uid(), {}
    for _ in range(count):
        uid = generate_uid()
        dataset = ct(uid)
        dataset.StudyInstanceUID = study
        buffer = BytesIO()
        dataset.save_as(buffer)
        sent[uid] = data = buffer.getvalue()[-len(data_set_of_bytes(buffer)) :]
        context = association.context_for(CT, EXPLICIT)
        assert await association.store(context, CT, uid, whole(data), length=len(data)) == SUCCESS
    return study, sent


def data_set_of_bytes(buffer: BytesIO) -> bytes:
    buffer.seek(0)
    pydicom.filereader.read_preamble(buffer, False)
    pydicom.filereader._read_file_meta_info(buffer)
    return buffer.read()


class TestStorescp:
    pytestmark = needs("storescp")

    async def test_storescp_keeps_what_was_sent(self, tmp_path: Path) -> None:
        port = free_port()
        async with process("SCP", port, "storescp", "+B", str(port), folder=tmp_path) as remote:
            async with associate(remote, [ECHO, STORE]) as association:
                _, sent = await store(association, 5)
            kept = {data_set_of(path) for path in tmp_path.glob("CT.*")}
        assert kept == set(sent.values())

    async def test_storescp_that_aborts_after_a_data_set_ends_the_association(self, tmp_path: Path) -> None:
        port = free_port()

        command = ("storescp", "--abort-after", str(port))
        async with process("SCP", port, *command, folder=tmp_path) as remote, associate(remote, [STORE]) as association:
            with pytest.raises(AssociationAborted):
                await store(association, 1)

    async def test_storescp_that_refuses_every_association_rejects(self, tmp_path: Path) -> None:
        port = free_port()

        command = ("storescp", "--refuse", str(port))
        running = await asyncio.create_subprocess_exec(*command, cwd=tmp_path)
        try:
            with pytest.raises(AssociationRejected):
                await until_rejected(Remote(aet="SCP", host="127.0.0.1", port=port))
        finally:
            running.terminate()
            await running.wait()


async def until_rejected(remote: Remote) -> None:

    while True:
        try:
            async with associate(remote, [ECHO]):
                raise AssertionError
        except ConnectFailed:
            await asyncio.sleep(0.05)


async def retrieve_and_search(remote: Remote, sink_aet: str, sink: RecordingHandler) -> None:
    """Store a study, find it, get it and have it moved to `sink`."""
    async with associate(remote, [ECHO, STORE, FIND, MOVE]) as association:
        study, sent = await store(association, 4)
        query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=study, PatientName="")
        found = [r async for r in association.find(association.context_for(STUDY_FIND), query)]
        assert [r.status for r in found] == [Status.PENDING, Status.SUCCESS]
        assert str(read(found[0].identifier).PatientName) == "CompressedSamples^CT1"
        query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
        moved = [r async for r in association.move(association.context_for(STUDY_MOVE), query, sink_aet)]
        assert (moved[-1].status, moved[-1].completed, moved[-1].failed) == (Status.SUCCESS, 4, 0)
        assert {s.request.sop_instance_uid for s in sink.sinks} == set(sent)
        assert {s.request.move_originator_aet for s in sink.sinks} == {"OSTEON"}
    sinks = Sinks()
    async with associate(remote, [GET, RECEIVE]) as association:
        got = [r async for r in association.get(association.context_for(STUDY_GET), query, sinks)]
    assert (got[-1].status, got[-1].completed) == (Status.SUCCESS, 4)
    assert {s.request.sop_instance_uid for s in sinks.recorder.sinks} == set(sent)


class TestDcmqrscp:
    pytestmark = needs("dcmqrscp")

    async def test_dcmqrscp_is_searched_and_sends_by_move_and_get(self, tmp_path: Path) -> None:

        port = free_port()
        (tmp_path / "db").mkdir()
        async with running() as service:
            config = tmp_path / "dcmqrscp.cfg"
            config.write_text(
                f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\n"
                f"HostTable BEGIN\nsink = (SINK, 127.0.0.1, {service.port})\nHostTable END\n"
                f"VendorTable BEGIN\nVendorTable END\n"
                f"AETable BEGIN\nQRSCP {tmp_path}/db RW (200, 1024mb) ANY\nAETable END\n"
            )
            command = ("dcmqrscp", "-c", str(config), "-v")
            async with process("QRSCP", port, *command, folder=tmp_path) as remote:
                await retrieve_and_search(remote, "SINK", service.handler)


class TestOrthanc:
    pytestmark = needs("Orthanc")

    async def test_orthanc_is_searched_and_sends_by_move_and_get(self, tmp_path: Path) -> None:

        port = free_port()
        async with running() as service:
            config = tmp_path / "orthanc.json"
            config.write_text(
                f'{{"DicomPort": {port}, "DicomAet": "ORTHANC", "HttpServerEnabled": false, "Plugins": [],'
                f'"StorageDirectory": "{tmp_path}/db", "DicomAlwaysAllowGet": true, "DicomAlwaysAllowFind": true,'
                f'"DicomAlwaysAllowMove": true, "DicomModalities": {{"sink": ["SINK", "127.0.0.1", {service.port}]}}}}'
            )
            async with process("ORTHANC", port, "Orthanc", str(config), folder=tmp_path) as remote:
                await retrieve_and_search(remote, "SINK", service.handler)
