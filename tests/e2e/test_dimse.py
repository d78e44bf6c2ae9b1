"""DICOM network clients against a running archive: DCMTK and pynetdicom."""

import subprocess
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind as PatientRootFind
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from pynetdicom.sop_class import Verification

from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import BUNDLED, dataset_bytes

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]


def dcmtk(program: str, archive: RunningArchive, *arguments: str | Path) -> str:
    """Run a DCMTK client and return what it printed; fails the test when it fails."""
    command = [program, *map(str, arguments)]
    environment = {"TCP_NODELAY": "1", "PATH": "/usr/bin"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def study(tmp_path: Path, series: int, slices: int, **attributes: object) -> tuple[str, list[Path]]:
    """Write a new study and return its UID and files."""
    uid = generate_uid()
    files = []
    for series_number in range(1, series + 1):
        series_uid = generate_uid()
        for number in range(1, slices + 1):
            dataset = ct_slice(
                study=uid, series=series_uid, number=number, SeriesNumber=str(series_number), **attributes
            )
            files.append(saved(dataset, tmp_path))
    return uid, files


def test_echoscu_is_answered(archive: RunningArchive) -> None:
    dcmtk("echoscu", archive, "-aec", archive.aet, "127.0.0.1", str(archive.dicom_port))


def test_a_stored_study_is_found_by_findscu_with_its_counts(archive: RunningArchive, tmp_path: Path) -> None:
    uid, _ = study(tmp_path, series=2, slices=3)
    host = ("-aec", archive.aet, "127.0.0.1", str(archive.dicom_port))
    dcmtk("storescu", archive, *host, "--scan-directories", "+r", tmp_path)
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}", "-k", "PatientName=*")

    def found() -> bool:
        out = dcmtk(
            "findscu",
            archive,
            "-v",
            "-S",
            *host,
            *keys,
            "-k",
            "NumberOfStudyRelatedInstances",
            "-k",
            "ModalitiesInStudy",
        )
        return "[6 ]" in out and "[CT]" in out and "Test^Osteon" in out

    eventually(found)


def test_every_level_of_patient_root_is_found(archive: RunningArchive, tmp_path: Path) -> None:
    patient = generate_uid()[-16:]
    uid, files = study(tmp_path, series=2, slices=2, PatientID=patient)
    assert archive.send(files) == [0x0000] * 4
    find = lambda **keys: archive.find(PatientRootFind, **keys)  # noqa: E731
    patients = eventually(
        lambda: find(
            QueryRetrieveLevel="PATIENT", PatientID=patient, PatientName="", NumberOfPatientRelatedInstances=""
        )
    )
    assert [(str(p.PatientName), p.NumberOfPatientRelatedInstances) for p in patients] == [("Test^Osteon", 4)]
    studies = find(QueryRetrieveLevel="STUDY", PatientID=patient, StudyInstanceUID="", StudyDescription="")
    assert [(s.StudyInstanceUID, s.StudyDescription) for s in studies] == [(uid, "Test study")]
    series = find(QueryRetrieveLevel="SERIES", PatientID=patient, StudyInstanceUID=uid, SeriesNumber="", Modality="")
    assert sorted((s.SeriesNumber, s.Modality) for s in series) == [(1, "CT"), (2, "CT")]
    images = find(
        QueryRetrieveLevel="IMAGE",
        PatientID=patient,
        StudyInstanceUID=uid,
        SeriesInstanceUID=dcmread(files[0]).SeriesInstanceUID,
        SOPInstanceUID="",
        InstanceNumber="",
        PhotometricInterpretation="",
    )
    assert sorted((i.InstanceNumber, i.PhotometricInterpretation) for i in images) == [
        (1, "MONOCHROME2"),
        (2, "MONOCHROME2"),
    ]


@pytest.mark.parametrize(
    "pattern", ["MÜLLER^JOSÉ", "muller^jose", "Müll*", "*LLER*", "mull?r^jos*", "Müller^José=*"], ids=str
)
def test_person_names_match_without_case_and_accents(archive: RunningArchive, tmp_path: Path, pattern: str) -> None:
    uid, files = study(tmp_path, series=1, slices=1, PatientName="Müller^José")
    archive.send(files)
    keys = {"SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": uid}
    names = eventually(lambda: [str(d.PatientName) for d in archive.find(StudyRootFind, PatientName=pattern, **keys)])
    assert names == ["Müller^José"]


def test_cancel_ends_a_long_answer(archive: RunningArchive, tmp_path: Path) -> None:
    uid, files = study(tmp_path, series=1, slices=40)
    archive.send(files)
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "IMAGE", uid
    identifier.SeriesInstanceUID, identifier.SOPInstanceUID = dcmread(files[0]).SeriesInstanceUID, ""
    eventually(lambda: len(archive.find(StudyRootFind, **{k.keyword: k.value for k in identifier})) == 40)
    with archive.association(StudyRootFind) as association:
        responses = association.send_c_find(identifier, StudyRootFind, msg_id=7)
        next(responses)
        association.send_c_cancel(7, query_model=StudyRootFind)
        final = [status.Status for status, _ in responses][-1]
    assert final in (0xFE00, 0x0000)  # everything may have been under way when the cancel came


def test_an_identifier_without_a_level_is_refused_with_the_tag_named(archive: RunningArchive) -> None:
    with archive.association(StudyRootFind) as association:
        identifier = Dataset()
        identifier.PatientName = "*"
        final = list(association.send_c_find(identifier, StudyRootFind))[-1][0]
    assert final.Status == 0xA900
    assert "0008,0052" in final.ErrorComment


def test_an_instance_whose_uid_differs_from_the_command_is_refused_with_the_tag_named(archive: RunningArchive) -> None:
    path = BUNDLED / "rtplan.dcm"  # pynetdicom announces the UID of its file meta information, the data set has another
    meta = dcmread(path).file_meta
    with archive.association((meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)) as association:
        answer = association.send_c_store(path)
    assert answer.Status == 0xA900
    assert "0008,0018" in answer.ErrorComment


def test_one_association_can_echo_store_and_find(archive: RunningArchive, tmp_path: Path) -> None:
    _, (path,) = study(tmp_path, series=1, slices=1)
    contexts = (Verification, (CTImageStorage, "1.2.840.10008.1.2.1"), StudyRootFind)
    with archive.association(*contexts) as association:
        assert association.send_c_echo().Status == 0x0000
        assert association.send_c_store(path).Status == 0x0000


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "693_J2KI.dcm", "examples_ybr_color.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm"]
)
def test_what_a_modality_sent_comes_back_byte_for_byte(archive: RunningArchive, name: str) -> None:
    path = BUNDLED / name
    assert archive.send([path]) == [0x0000]
    uid = dcmread(path, stop_before_pixels=True).SOPInstanceUID

    def identifier() -> str | None:
        found = httpx.post(f"{archive.url}/tools/lookup", content=str(uid)).json()
        return found[0]["ID"] if found else None

    file = archive.get(f"/instances/{eventually(identifier)}/file").content
    assert dataset_bytes(file) == dataset_bytes(path)
