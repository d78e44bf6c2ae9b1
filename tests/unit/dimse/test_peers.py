"""pynetdicom as the requestor, in a thread, and DCMTK's tools as processes."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation

from osteon.dimse.handler import FindRequest, FindResponse, Outcome
from osteon.dimse.status import Status
from support.dimse.raw_peer import STUDY_FIND, VERIFICATION, RecordingHandler, RunningAcceptor, running

CT_FILE = Path(str(get_testdata_file("CT_small.dcm")))
J2K_FILE = Path(str(get_testdata_file("JPEG2000.dcm")))
dcmtk = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed"),
]


async def as_requestor(
    service: RunningAcceptor, work: Callable[[Association], object], *classes: str, items: tuple[object, ...] = ()
) -> object:
    """Associate by pynetdicom and run `work` in a thread."""

    def run() -> object:
        entity = AE(ae_title="PYNET")
        for name in classes:
            entity.add_requested_context(name, [ImplicitVRLittleEndian, "1.2.840.10008.1.2.1"])
        association = entity.associate("127.0.0.1", service.port, ae_title="OSTEON", ext_neg=list(items))
        assert association.is_established
        result = work(association)
        association.release()
        assert association.is_released
        return result

    return await asyncio.to_thread(run)


def data_set_of(path: Path) -> bytes:
    """Return the bytes after the file meta information."""
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, False)
        pydicom.filereader._read_file_meta_info(file)
        return file.read()


async def two_studies(request: FindRequest) -> AsyncIterator[FindResponse]:
    for name in ("A^B", "C^D"):
        match = Dataset()
        match.PatientName, match.QueryRetrieveLevel = name, "STUDY"
        yield FindResponse(
            Status.PENDING, encode(match, request.context.transfer_syntax == ImplicitVRLittleEndian, True)
        )
    yield FindResponse(Status.SUCCESS)


async def endless(request: FindRequest) -> AsyncIterator[FindResponse]:
    while True:
        await asyncio.sleep(0.005)
        yield FindResponse(Status.PENDING, encode(Dataset(), False, True))


async def test_pynetdicom_echoes() -> None:
    async with running() as service:
        status = await as_requestor(service, lambda association: association.send_c_echo(), VERIFICATION)
        assert status.Status == 0  # type: ignore[attr-defined]


async def test_pynetdicom_stores_and_the_data_set_is_what_it_read() -> None:
    data = pydicom.dcmread(CT_FILE)
    async with running() as service:
        status = await as_requestor(service, lambda association: association.send_c_store(data), data.SOPClassUID)
        assert status.Status == 0  # type: ignore[attr-defined]
        (sink,) = service.handler.sinks
        assert sink.request.sop_instance_uid == data.SOPInstanceUID
        stored = pydicom.dcmread(BytesIO(bytes(sink.data)), force=True)
        assert stored.PixelData == data.PixelData


async def test_pynetdicom_hears_why_it_was_refused() -> None:
    data = pydicom.dcmread(CT_FILE)
    async with running(RecordingHandler(refusal=Outcome(Status.OUT_OF_RESOURCES, "spool is full"))) as service:
        status = await as_requestor(service, lambda association: association.send_c_store(data), data.SOPClassUID)
        assert (status.Status, status.ErrorComment) == (0xA700, "spool is full")  # type: ignore[attr-defined]


async def test_pynetdicom_finds() -> None:
    async with running(RecordingHandler(matches=two_studies)) as service:

        def work(association: Association) -> list[tuple[int, object]]:
            query = Dataset()
            query.QueryRetrieveLevel, query.PatientName = "STUDY", "*"
            answers = association.send_c_find(query, STUDY_FIND)
            return [(status.Status, match and str(match.PatientName)) for status, match in answers]

        answers = await as_requestor(service, work, STUDY_FIND)
        assert answers == [(0xFF00, "A^B"), (0xFF00, "C^D"), (0, None)]


async def test_pynetdicom_cancels_a_search() -> None:
    async with running(RecordingHandler(matches=endless)) as service:

        def work(association: Association) -> list[int]:
            query = Dataset()
            query.QueryRetrieveLevel = "STUDY"
            statuses = []
            for status, _ in association.send_c_find(query, STUDY_FIND, msg_id=7):
                statuses.append(status.Status)
                if len(statuses) == 3:
                    association.send_c_cancel(7, query_model=STUDY_FIND)
            return statuses

        statuses = await as_requestor(service, work, STUDY_FIND)
        assert statuses[-1] == 0xFE00  # type: ignore[index]
        assert set(statuses[:-1]) == {0xFF00}  # type: ignore[index]


async def test_pynetdicom_understands_the_answers_of_extended_negotiation() -> None:
    extended, identity = SOPClassExtendedNegotiation(), UserIdentityNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = STUDY_FIND, b"\1\1\1\1"
    identity.user_identity_type, identity.primary_field = 1, b"reader"
    identity.secondary_field, identity.positive_response_requested = b"", True
    async with running(query_options=b"\1\1\0\1") as service:

        def work(association: Association) -> object:
            return association.acceptor.sop_class_extended, association.acceptor.user_identity

        answered, confirmed = await as_requestor(service, work, STUDY_FIND, items=(extended, identity))  # type: ignore[misc]
        assert answered == {STUDY_FIND: b"\1\1\0\1"}
        assert confirmed is not None
        assert service.handler.info is not None
        assert service.handler.info.user_identity == "reader"


async def run(*command: str) -> tuple[int, str]:
    """Run one of DCMTK's tools; return its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode("latin-1")


class TestDcmtk:
    pytestmark = dcmtk

    async def test_echoscu_succeeds(self) -> None:
        async with running() as service:
            assert (await run("echoscu", "-aec", "OSTEON", "127.0.0.1", str(service.port)))[0] == 0

    async def test_echoscu_hears_why_it_was_rejected(self) -> None:
        async with running(check_called_aet=True) as service:
            status, output = await run("echoscu", "-aec", "WRONG", "127.0.0.1", str(service.port))
            assert status != 0
            assert "Called AE Title Not Recognized" in output

    @pytest.mark.parametrize(("file", "options"), [(CT_FILE, ("-xe",)), (J2K_FILE, ("-xw",))])
    async def test_what_storescu_sends_is_stored_in_the_transfer_syntax_of_its_file(
        self, file: Path, options: tuple[str, ...]
    ) -> None:
        async with running() as service:
            command = ("storescu", *options, "-aec", "OSTEON", "127.0.0.1", str(service.port), str(file))
            status, output = await run(*command)
            assert status == 0, output
            (sink,) = service.handler.sinks
            assert sink.context.transfer_syntax == pydicom.dcmread(file).file_meta.TransferSyntaxUID
            # DCMTK may write group lengths and padding anew, but not the pixel data in the middle.
            original = data_set_of(file)
            middle = len(original) // 2
            assert original[middle : middle + 5000] in sink.data

    async def test_findscu_shows_what_was_found(self) -> None:
        async with running(RecordingHandler(matches=two_studies)) as service:
            keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=*")
            status, output = await run("findscu", "-S", "-aec", "OSTEON", *keys, "127.0.0.1", str(service.port))
            assert status == 0
            assert "A^B" in output
            assert "C^D" in output

    async def test_findscu_cancels(self) -> None:
        async with running(RecordingHandler(matches=endless)) as service:
            options = ("-v", "-S", "--cancel", "2", "-k", "QueryRetrieveLevel=STUDY")
            status, output = await run("findscu", *options, "-aec", "OSTEON", "127.0.0.1", str(service.port))
            assert status == 0, output
            assert "Cancel" in output
