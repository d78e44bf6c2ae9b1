"""C-GET and C-MOVE of a running archive: DCMTK, pynetdicom and Orthanc ask for what was stored."""

import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from pynetdicom import AE, StoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelGet as PatientRootGet
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelMove as PatientRootMove
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as StudyRootMove

from osteon_local.part import free_port
from support.archive.running import RunningArchive, eventually, keep_answers
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import BUNDLED, dataset_bytes
from support.dimse.pynetdicom_acceptor import accepting

NODELAY = {**os.environ, "TCP_NODELAY": "1"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("archives"),
    pytest.mark.skipif(shutil.which("getscu") is None, reason="DCMTK is not installed"),
]


@dataclass(frozen=True)
class Stored:
    """A patient with two studies; the first has two series of three slices, the other one slice."""

    patient: str
    studies: tuple[str, str]
    series: tuple[str, str]
    files: tuple[Path, ...]

    def of(self, **wanted: str) -> dict[str, str]:
        """Return SOP Instance UID and SHA-256 of the instances with these attributes."""
        found = {}
        for path in self.files:
            dataset = dcmread(path, stop_before_pixels=True)
            if all(str(dataset[keyword].value) in value.split("\\") for keyword, value in wanted.items()):
                found[path.stem] = digest(path)
        return found


@pytest.fixture(scope="module")
def stored(archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("stored")
    patient, studies = generate_uid()[-16:], (generate_uid(), generate_uid())
    series = (generate_uid(), generate_uid())
    slices = [ct_slice(study=studies[0], series=uid, number=n, PatientID=patient) for uid in series for n in range(3)]
    slices.append(ct_slice(study=studies[1], PatientID=patient))
    files = tuple(saved(dataset, folder) for dataset in slices)
    assert archive.send(list(files)) == [0x0000] * 7
    there(archive, 6, StudyInstanceUID=studies[0])
    there(archive, 1, StudyInstanceUID=studies[1])
    return Stored(patient, studies, series, files)


def there(archive: RunningArchive, count: int, **keys: str) -> None:
    """Wait until a study has so many instances."""
    wanted = {"QueryRetrieveLevel": "STUDY", "NumberOfStudyRelatedInstances": "", **keys}
    eventually(lambda: [int(s.NumberOfStudyRelatedInstances) for s in archive.find(StudyRootFind, **wanted)] == [count])


def digest(path: Path) -> str:
    return hashlib.sha256(dataset_bytes(path)).hexdigest()


def received(folder: Path) -> dict[str, str]:
    """Return SOP Instance UID and SHA-256 of what DCMTK has written."""
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): digest(path) for path in folder.iterdir()}


def client(archive: RunningArchive, program: str, *arguments: str, fails: bool = False) -> str:
    """Run a DCMTK client and return what it printed."""
    command = [program, "-v", *arguments, "-aec", archive.aet, "127.0.0.1", str(archive.dicom_port)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=NODELAY)
    assert fails or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def asked(level: str, stored: Stored) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return DCMTK's option for the model, the keys, and what of the instances they mean."""
    study, series = {"StudyInstanceUID": stored.studies[0]}, {"SeriesInstanceUID": stored.series[1]}
    image = {"SOPInstanceUID": sorted(stored.of(**series))[0]}
    images = {"SOPInstanceUID": "\\".join(sorted(stored.of(**series))[1:])}
    return {
        "patient": ("-P", {"QueryRetrieveLevel": "PATIENT", "PatientID": stored.patient}, stored.of()),
        "study of patient": (
            "-P",
            {"QueryRetrieveLevel": "STUDY", "PatientID": stored.patient, **study},
            stored.of(**study),
        ),
        "study": ("-S", {"QueryRetrieveLevel": "STUDY", **study}, stored.of(**study)),
        "studies": ("-S", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "\\".join(stored.studies)}, stored.of()),
        "series": ("-S", {"QueryRetrieveLevel": "SERIES", **study, **series}, stored.of(**series)),
        "image": ("-S", {"QueryRetrieveLevel": "IMAGE", **study, **series, **image}, stored.of(**image)),
        "images": ("-S", {"QueryRetrieveLevel": "IMAGE", **study, **series, **images}, stored.of(**images)),
    }[level]


LEVELS = ["patient", "study of patient", "study", "studies", "series", "image", "images"]


def as_options(keys: dict[str, str]) -> list[str]:
    return [word for name, value in keys.items() for word in ("-k", f"{name}={value}")]


def as_identifier(**keys: str) -> Dataset:
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


@contextmanager
def storescp(archive: RunningArchive, folder: Path) -> Iterator[str]:
    """Run DCMTK's receiver, known to the archive from now on; yields its AE title."""
    folder.mkdir()
    port = free_port()
    title = f"SINK{port}"
    command = ["storescp", "-aet", title, "-od", str(folder), "+B", str(port)]
    with subprocess.Popen(command, env=NODELAY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            register(archive, title, port)
            eventually(lambda: subprocess.run(["echoscu", "127.0.0.1", str(port)], check=False).returncode == 0)
            yield title
        finally:
            process.terminate()


def register(archive: RunningArchive, title: str, port: int) -> None:
    httpx.put(f"{archive.url}/modalities/{title.lower()}", json=[title, "127.0.0.1", port]).raise_for_status()


@contextmanager
def sink(archive: RunningArchive, on_store: Callable[[evt.Event], int]) -> Iterator[str]:
    """Run a receiver of pynetdicom's, known to the archive from now on; yields its AE title."""
    port = free_port()
    entity = AE(f"SINK{port}")
    entity.supported_contexts = StoragePresentationContexts
    with accepting(entity, (evt.EVT_C_STORE, on_store), port=port):
        register(archive, entity.ae_title, port)
        yield entity.ae_title


@pytest.mark.parametrize("level", LEVELS)
def test_getscu_gets_each_level_byte_for_byte(
    archive: RunningArchive, stored: Stored, tmp_path: Path, level: str
) -> None:
    model, keys, expected = asked(level, stored)
    client(archive, "getscu", model, "+B", "-od", str(tmp_path), *as_options(keys))
    assert received(tmp_path) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_movescu_moves_each_level_byte_for_byte(
    archive: RunningArchive, stored: Stored, tmp_path: Path, level: str
) -> None:
    model, keys, expected = asked(level, stored)
    with storescp(archive, tmp_path / "sink") as title:
        out = client(archive, "movescu", "-d", model, "-aem", title, *as_options(keys))
        assert received(tmp_path / "sink") == expected
    assert "0x0000" in out.splitlines()[-1] or "Success" in out


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a VR that PS3.5 does not have": lambda data: data.replace(b"\x08\0\x60\0CS", b"\x08\0\x60\0ZZ", 1),
    "a length beyond the end": lambda data: data.replace(b"\x10\0\x30\0DA\x08\0", b"\x10\0\x30\0DA\xff\xff", 1),
    "elements out of order": lambda data: data.replace(DAMAGED_ELEMENT, b"", 1) + DAMAGED_ELEMENT,
}
DAMAGED_ELEMENT = b"\x10\0\x30\0DA\x08\x0019700101"
"""Patient's Birth Date in Explicit VR Little Endian."""


@pytest.fixture(scope="module")
def damaged(archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """Store instances with damaged headers; return their study, and SHA-256 by SOP Instance UID."""
    study, series, expected = generate_uid(), generate_uid(), {}
    folder = tmp_path_factory.mktemp("damaged")
    for number, damage in enumerate(DAMAGE.values()):
        dataset = ct_slice(study=study, series=series, number=number, PatientBirthDate="19700101")
        file = saved(dataset, folder)
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        assert file.read_bytes() != whole
        archive.post("/instances", content=file.read_bytes())
        expected[str(dataset.SOPInstanceUID)] = digest(file)
    return study, expected


def hashes(folder: Path) -> set[str]:
    return {digest(path) for path in folder.iterdir()}


def test_getscu_gets_damaged_headers_byte_for_byte(
    archive: RunningArchive, damaged: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    study, expected = damaged
    keys = as_options({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study})
    client(archive, "getscu", "-S", "+B", "-od", str(tmp_path), *keys)
    assert hashes(tmp_path) == set(expected.values())


def test_movescu_moves_damaged_headers_byte_for_byte(
    archive: RunningArchive, damaged: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    study, expected = damaged
    keys = as_options({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study})
    with storescp(archive, tmp_path / "sink") as title:
        client(archive, "movescu", "-S", "-aem", title, *keys)
        assert hashes(tmp_path / "sink") == set(expected.values())


def test_nothing_found_is_a_success_of_nothing(archive: RunningArchive) -> None:
    identifier = as_identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=generate_uid())
    with archive.association(StudyRootGet) as association:
        *_, (status, _) = association.send_c_get(identifier, StudyRootGet)
    assert (status.Status, status.get("NumberOfCompletedSuboperations", 0)) == (0x0000, 0)


@pytest.mark.parametrize("model", [StudyRootGet, StudyRootMove], ids=["get", "move"])
@pytest.mark.parametrize("keys", [{}, {"QueryRetrieveLevel": "STUDY"}, {"QueryRetrieveLevel": "NOTHING"}], ids=str)
def test_an_identifier_that_means_nothing_is_refused(archive: RunningArchive, model: str, keys: dict[str, str]) -> None:
    with sink(archive, lambda _: 0) as title, archive.association(model) as association:
        identifier = as_identifier(PatientName="*", **keys)
        if model is StudyRootGet:
            *_, (status, _) = association.send_c_get(identifier, model)
        else:
            *_, (status, _) = association.send_c_move(identifier, title, model)
    assert status.Status == 0xA900
    assert "00" in status.ErrorComment


def test_a_destination_that_nobody_knows_is_answered_a801(archive: RunningArchive, stored: Stored) -> None:
    identifier = as_identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=stored.studies[0])
    with archive.association(StudyRootMove) as association:
        *_, (status, _) = association.send_c_move(identifier, "NOBODY", StudyRootMove)
    assert status.Status == 0xA801


def test_a_destination_that_is_not_there_is_no_success(archive: RunningArchive, stored: Stored) -> None:
    port = free_port()
    register(archive, f"GONE{port}", port)
    identifier = as_identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=stored.studies[1])
    with archive.association(StudyRootMove) as association:
        cancelled = threading.Timer(3, lambda: association.send_c_cancel(1, query_model=StudyRootMove))
        cancelled.start()  # it is tried for a while, which is longer than this test waits
        responses = [status for status, _ in association.send_c_move(identifier, f"GONE{port}", StudyRootMove)]
        cancelled.cancel()
    assert responses[-1].Status in (0xFE00, 0xA702, 0xB000)
    assert responses[-1].get("NumberOfCompletedSuboperations", 0) == 0


def test_a_move_tells_its_originator_counts_each_answer_and_lists_what_failed(
    archive: RunningArchive, stored: Stored
) -> None:
    originators: set[tuple[str, int]] = set()
    refused, warned = sorted(stored.of(StudyInstanceUID=stored.studies[0]))[:2]

    def on_store(event: evt.Event) -> int:
        request = event.request
        originators.add((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return {refused: 0xA700, warned: 0xB000}.get(str(request.AffectedSOPInstanceUID), 0x0000)

    identifier = as_identifier(QueryRetrieveLevel="STUDY", PatientID=stored.patient, StudyInstanceUID=stored.studies[0])
    with sink(archive, on_store) as title, archive.association(PatientRootMove, calling="VIEWER") as association:
        responses = list(association.send_c_move(identifier, title, PatientRootMove, msg_id=77))
    status, failed = responses[-1]
    assert status.Status == 0xB000
    assert [
        status.get(f"NumberOf{name}Suboperations", 0) for name in ("Completed", "Failed", "Warning", "Remaining")
    ] == [4, 1, 1, 0]
    assert str(failed.FailedSOPInstanceUIDList) == refused
    assert originators == {("VIEWER", 77)}
    assert responses[0][0].Status == 0xFF00
    assert responses[0][0].NumberOfRemainingSuboperations <= 6


def got(
    archive: RunningArchive, identifier: Dataset, syntax: Sequence[str], on_store: Callable[[evt.Event], int]
) -> Any:
    """C-GET by pynetdicom; returns its last response. `on_store` may cancel by the Message ID 7."""
    entity = AE("VIEWER")
    for model in (PatientRootGet, StudyRootGet):
        entity.add_requested_context(model)
    for uid in syntax:
        entity.add_requested_context(CTImageStorage, uid)
    entity.dimse_timeout = entity.network_timeout = 60
    association = entity.associate(
        "127.0.0.1",
        archive.dicom_port,
        ae_title=archive.aet,
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
    )
    assert association.is_established
    try:
        *_, last = association.send_c_get(identifier, StudyRootGet, msg_id=7)
        return last
    finally:
        association.release()


def test_a_get_counts_each_answer_and_lists_what_failed(archive: RunningArchive, stored: Stored) -> None:
    refused = sorted(stored.of(StudyInstanceUID=stored.studies[0]))[0]
    identifier = as_identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=stored.studies[0])
    status, failed = got(
        archive,
        identifier,
        [ExplicitVRLittleEndian],
        lambda event: 0xA700 if event.request.AffectedSOPInstanceUID == refused else 0,
    )
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0xB000, 5, 1)
    assert str(failed.FailedSOPInstanceUIDList) == refused


@pytest.fixture(scope="module")
def long_study(archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> str:
    uid, series = generate_uid(), generate_uid()
    folder = tmp_path_factory.mktemp("long")
    files = [saved(ct_slice(study=uid, series=series, number=number), folder) for number in range(150)]
    assert set(archive.send(files)) == {0x0000}
    there(archive, 150, StudyInstanceUID=uid)
    return uid


def test_a_cancelled_get_ends_early(archive: RunningArchive, long_study: str) -> None:
    came: list[str] = []

    def on_store(event: evt.Event) -> int:
        came.append(event.request.AffectedSOPInstanceUID)
        if len(came) == 3:
            event.assoc.send_c_cancel(7, query_model=StudyRootGet)
        return 0

    identifier = as_identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=long_study)
    status, _ = got(archive, identifier, [ExplicitVRLittleEndian], on_store)
    assert status.Status == 0xFE00
    assert status.NumberOfCompletedSuboperations == len(came) < 150
    assert status.NumberOfRemainingSuboperations == 150 - len(came)


def test_a_cancelled_move_ends_early(archive: RunningArchive, long_study: str) -> None:
    came: list[str] = []

    def on_store(event: evt.Event) -> int:
        came.append(event.request.AffectedSOPInstanceUID)
        threading.Event().wait(0.05)
        return 0

    identifier = as_identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=long_study)
    with sink(archive, on_store) as title, archive.association(StudyRootMove) as association:
        responses = association.send_c_move(identifier, title, StudyRootMove, msg_id=7)
        for status, _ in responses:
            if status.get("NumberOfCompletedSuboperations", 0) >= 2:
                association.send_c_cancel(7, query_model=StudyRootMove)
                break
        status = [status for status, _ in responses][-1]
    assert status.Status == 0xFE00
    assert 2 <= status.NumberOfCompletedSuboperations < 150
    assert status.NumberOfCompletedSuboperations <= len(came) <= status.NumberOfCompletedSuboperations + 2


def test_what_is_stored_compressed_comes_as_it_is_or_decompressed(archive: RunningArchive) -> None:
    path = BUNDLED / "693_J2KI.dcm"
    assert archive.send([path]) == [0x0000]
    dataset = dcmread(path)
    wanted = {"StudyInstanceUID": dataset.StudyInstanceUID, "SeriesInstanceUID": dataset.SeriesInstanceUID}
    identifier = as_identifier(QueryRetrieveLevel="IMAGE", SOPInstanceUID=dataset.SOPInstanceUID, **wanted)
    there(archive, 1, StudyInstanceUID=dataset.StudyInstanceUID)
    came: list[tuple[str, Dataset, bytes]] = []

    def on_store(event: evt.Event) -> int:
        made = event.dataset
        made.file_meta = event.file_meta
        came.append((event.context.transfer_syntax, made, event.request.DataSet.getvalue()))
        return 0

    both = [dataset.file_meta.TransferSyntaxUID, ExplicitVRLittleEndian]
    for syntaxes in (both, [ExplicitVRLittleEndian], [JPEG2000Lossless]):
        assert got(archive, identifier, syntaxes, on_store)[0].Status == 0x0000, syntaxes
    as_it_is, plain, recoded = came
    assert as_it_is[0] == dataset.file_meta.TransferSyntaxUID
    assert as_it_is[2] == dataset_bytes(path)
    assert (plain[0], recoded[0]) == (ExplicitVRLittleEndian, JPEG2000Lossless)
    for _, made, _ in (plain, recoded):
        np.testing.assert_array_equal(made.pixel_array, dataset.pixel_array)


@pytest.fixture(scope="module")
def orthanc(archive: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    if shutil.which("Orthanc") is None:
        pytest.skip("Orthanc is not installed")
    folder = tmp_path_factory.mktemp("orthanc")
    dicom, web = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomAet": "ORTHANC", "DicomPort": dicom,
        "HttpPort": web, "RemoteAccessAllowed": False, "DicomAlwaysAllowStore": True, "Plugins": [],
        "DicomModalities": {"osteon": [archive.aet, "127.0.0.1", archive.dicom_port]},
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "settings.json")], env=NODELAY, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{web}", timeout=60) as http:
            eventually(lambda: _answers(http))
            register(archive, "ORTHANC", dicom)
            yield http
    finally:
        process.terminate()
        process.wait(20)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/system").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("how", ["move", "get"])
@pytest.mark.parametrize("level", ["Study", "Series"])
def test_orthanc_retrieves_what_is_stored(
    archive: RunningArchive, stored: Stored, orthanc: httpx.Client, how: str, level: str
) -> None:
    wanted = {"StudyInstanceUID": stored.studies[0]}
    if level == "Series":
        wanted["SeriesInstanceUID"] = stored.series[0]
    for study in orthanc.get("/studies").json():
        orthanc.delete(f"/studies/{study}")
    body = {"Level": level, "Resources": [wanted], "TargetAet": "ORTHANC"}
    answer = orthanc.post(f"/modalities/osteon/{how}", json=body)
    if answer.status_code == 404 and how == "get":
        pytest.skip("this Orthanc has no C-GET as requester")
    assert answer.status_code == 200, answer.text
    files = [orthanc.get(f"/instances/{uid}/file").content for uid in orthanc.get("/instances").json()]
    assert sorted(hashlib.sha256(dataset_bytes(file)).hexdigest() for file in files) == sorted(
        stored.of(**wanted).values()
    )


def test_orthanc_retrieves_the_answers_of_a_query(
    archive: RunningArchive, stored: Stored, orthanc: httpx.Client
) -> None:
    body = {"Level": "Study", "Query": {"PatientID": stored.patient, "StudyInstanceUID": ""}}
    query = orthanc.post("/modalities/osteon/query", json=body).json()["Path"]
    assert len(orthanc.get(f"{query}/answers").json()) == 2
    orthanc.post(f"{query}/retrieve", content="ORTHANC").raise_for_status()
    assert orthanc.get("/statistics").json()["CountStudies"] == 2


def test_gets_and_moves_at_the_same_time_do_not_disturb_each_other(
    archive: RunningArchive, stored: Stored, long_study: str, tmp_path: Path
) -> None:
    keys = as_options({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": long_study})
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    with storescp(archive, tmp_path / "sink") as title:
        threads = [
            threading.Thread(target=client, args=(archive, "getscu", "-S", "+B", "-od", str(folder), *keys))
            for folder in folders
        ]
        threads.append(threading.Thread(target=client, args=(archive, "movescu", "-S", "-aem", title, *keys)))
        for thread in threads:
            thread.start()
        with archive.association((CTImageStorage, ExplicitVRLittleEndian)) as association:
            keep_answers(association)
            path = saved(ct_slice(study=generate_uid()), tmp_path)
            assert association.send_c_store(path).Status == 0x0000
        for thread in threads:
            thread.join(120)
        assert [len(list(folder.iterdir())) for folder in (*folders, tmp_path / "sink")] == [150] * 4
