"""ZIP archives and media of a running archive: as Orthanc makes them, read by others, whole or not at all."""

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.fileset import FileSet
from pydicom.uid import JPEGLSLossless, generate_uid

from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import part10

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives"), pytest.mark.timeout(240)]


def upload(http: httpx.Client, **attributes: Any) -> dict[str, Any]:
    return dict(http.post("/instances", content=part10(ct_slice(**attributes))).raise_for_status().json())


def opened(answer: httpx.Response) -> zipfile.ZipFile:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    found = zipfile.ZipFile(io.BytesIO(answer.content))
    assert found.testzip() is None
    return found


@pytest.fixture
def http(archive: RunningArchive) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=archive.url, timeout=120) as client:
        yield client


def fill(http: httpx.Client) -> dict[str, Any]:
    """Store two studies of a patient, one with two series; return the answer of the last upload."""
    patient = {"PatientID": f"P {generate_uid()[-8:]}", "PatientName": "Doe^Jane"}
    upload(http, **patient, AccessionNumber="A1", StudyDescription="Head & Neck", SeriesDescription="axial, 2mm")
    upload(http, **patient, AccessionNumber="A1", StudyDescription="Head & Neck", SeriesDescription="axial, 2mm")
    empty = {"AccessionNumber": "", "StudyDescription": "", "SeriesDescription": ""}
    study, series = generate_uid(), generate_uid()
    upload(http, **patient, **empty, study=study, Modality="")
    stored = [upload(http, **patient, **empty, study=study, series=series, number=n, Modality="M") for n in range(2)]
    return stored[-1]


def test_an_archive_has_every_file_as_stored_under_readable_names(http: httpx.Client) -> None:
    last = fill(http)
    answer = http.get(f"/patients/{last['ParentPatient']}/archive")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{last["ParentPatient"]}.zip"'
    files = opened(answer)
    folders = sorted({name.partition("/")[2] for name in files.namelist()})
    assert folders == [
        "A1 Head Neck-2/CT axial 2mm/CT000000.dcm", "A1 Head Neck/CT axial 2mm/CT000000.dcm",
        "Unknown Study/M/M0000000.dcm", "Unknown Study/M/M0000001.dcm",
        "Unknown Study/Unknown Series/00000000.dcm",
    ]  # fmt: skip
    for name in files.namelist():
        content = files.read(name)
        (found,) = http.post("/tools/lookup", content=str(dcmread(io.BytesIO(content)).SOPInstanceUID)).json()
        assert http.get(f"{found['Path']}/file").content == content


def test_what_several_resources_name_is_there_once(http: httpx.Client) -> None:
    last = fill(http)
    listed = [last["ParentStudy"], last["ParentSeries"], last["ID"]]
    assert len(opened(http.get("/tools/create-archive", params={"resources": ",".join(listed)})).namelist()) == 3
    assert len(opened(http.post("/tools/create-archive", json=listed)).namelist()) == 3
    assert len(opened(http.post("/tools/create-archive", json={"Resources": [last["ID"]]})).namelist()) == 1
    named = http.post(f"/series/{last['ParentSeries']}/archive", json={"Filename": "Jane's CT.zip"})
    assert named.headers["Content-Disposition"] == 'attachment; filename="Jane_s CT.zip"'
    assert len(opened(named).namelist()) == 2


def test_names_beyond_ascii_are_kept_or_left_out(http: httpx.Client) -> None:
    stored = upload(http, PatientID="77", PatientName="Dölger^Ute", SpecificCharacterSet="ISO_IR 192")
    uri = f"/studies/{stored['ParentStudy']}/archive"
    assert opened(http.get(uri)).namelist()[0].startswith("77 Dölger Ute/")
    assert opened(http.get(uri, params={"utf8": "false"})).namelist()[0].startswith("77 Dlger Ute/")
    assert opened(http.post(uri, json={"Utf8": False})).namelist()[0].startswith("77 Dlger Ute/")


def test_files_come_in_another_transfer_syntax(http: httpx.Client) -> None:
    last = fill(http)
    files = opened(http.get(f"/studies/{last['ParentStudy']}/archive", params={"transcode": JPEGLSLossless}))
    syntaxes = {dcmread(io.BytesIO(files.read(name))).file_meta.TransferSyntaxUID for name in files.namelist()}
    assert syntaxes == {JPEGLSLossless}
    wrong = http.get(f"/studies/{last['ParentStudy']}/archive", params={"transcode": "1.2.3"})
    assert (wrong.status_code, "Transcode" in wrong.json()["Details"]) == (400, True)


@pytest.mark.parametrize("extended", [False, True])
def test_others_read_the_dicomdir_of_a_medium(http: httpx.Client, tmp_path: Path, extended: bool) -> None:
    last = fill(http)
    path = "/tools/create-media-extended" if extended else "/tools/create-media"
    opened(http.post(path, json=[last["ParentPatient"]])).extractall(tmp_path)
    assert sorted(each.name for each in (tmp_path / "IMAGES").iterdir()) == [f"IM{n}" for n in range(5)]
    found = FileSet(tmp_path / "DICOMDIR")
    assert (len(found), len(found.find_values("StudyInstanceUID")), len(found.find_values("SeriesInstanceUID"))) == (
        5, 3, 4,
    )  # fmt: skip
    for instance in found:
        dataset = instance.load()
        assert dataset.SOPInstanceUID == instance.SOPInstanceUID
        assert instance.PatientName == "Doe^Jane"
        assert instance.ReferencedTransferSyntaxUIDInFile == dataset.file_meta.TransferSyntaxUID
    assert ("axial, 2mm" in found.find_values("SeriesDescription")) is extended
    if (dcmdump := shutil.which("dcmdump")) is not None:
        dumped = subprocess.run([dcmdump, tmp_path / "DICOMDIR"], capture_output=True, text=True, check=True)
        assert dumped.stdout.count("(0004,1430) CS [IMAGE]") == 5
        assert "W:" not in dumped.stderr


def test_a_job_makes_an_archive_that_is_fetched_later(http: httpx.Client) -> None:
    last = fill(http)
    job = http.post(f"/patients/{last['ParentPatient']}/archive", json={"Asynchronous": True}).json()
    assert job["Path"] == f"/jobs/{job['ID']}"
    shown: dict[str, Any] = {}
    eventually(lambda: shown.update(http.get(job["Path"]).json()) or shown["State"] in ("Success", "Failure"))
    assert (shown["State"], shown["Type"], shown["Progress"]) == ("Success", "Archive", 100), shown
    whole = http.get(f"{job['Path']}/archive")
    assert len(opened(whole).namelist()) == shown["Content"]["InstancesCount"] == 5
    assert int(shown["Content"]["ArchiveSize"]) == len(whole.content)
    part = http.get(f"{job['Path']}/archive", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    http.delete(job["Path"]).raise_for_status()
    assert http.get(f"{job['Path']}/archive").status_code == 404
    media = http.post(f"/studies/{last['ParentStudy']}/media", json={"Synchronous": False}).json()
    eventually(lambda: http.get(media["Path"]).json()["State"] == "Success")
    assert "DICOMDIR" in opened(http.get(f"{media['Path']}/archive")).namelist()


@pytest.mark.parametrize(("path", "body", "status"), [
    ("/tools/create-archive", {"Resources": []}, 400),
    ("/tools/create-archive", {"Resources": "x"}, 400),
    ("/tools/create-archive", ["0" * 8], 404),
    ("/studies/07a6ec1c-1be5920b-18ef5358-d24441f3-10e926ea/archive", {}, 404),
    ("/studies/07a6ec1c-1be5920b-18ef5358-d24441f3-10e926ea/media", {"Asynchronous": True}, 404),
])  # fmt: skip
def test_what_is_not_there_is_said_before_anything_is_sent(
    http: httpx.Client, path: str, body: Any, status: int
) -> None:
    assert http.post(path, content=json.dumps(body)).status_code == status


@needs_orthanc
def test_the_folders_are_orthancs(http: httpx.Client, archive: RunningArchive, tmp_path: Path) -> None:
    names = [
        {"PatientName": "Müller^Hans=Kanji", "StudyDescription": "  a  b__c-d.e:f*g?  ", "SeriesDescription": "x'y"},
        {"PatientName": "", "StudyDescription": "Thorax/Abdomen", "Modality": "OT", "AccessionNumber": ""},
        {"PatientName": "A^B^C^D^E", "SeriesDescription": "t1_fl (tra) 3.0", "Modality": "MR", "StudyDescription": ""},
    ]  # fmt: skip
    with running_orthanc(tmp_path, archive) as orthanc:
        for each in names:
            compare(http, orthanc, PatientID=generate_uid()[-9:], SpecificCharacterSet="ISO_IR 192", **each)


def compare(http: httpx.Client, orthanc: OrthancServer, **attributes: Any) -> None:
    dataset = part10(ct_slice(**attributes))
    study = orthanc.http.post("/instances", content=dataset).raise_for_status().json()["ParentStudy"]
    http.post("/instances", content=dataset).raise_for_status()
    theirs = opened(orthanc.http.get(f"/studies/{study}/archive")).namelist()
    assert opened(http.get(f"/studies/{study}/archive", params={"utf8": "false"})).namelist() == theirs


def test_one_file_comes_in_another_transfer_syntax_and_under_another_name(http: httpx.Client) -> None:
    last = fill(http)
    uri = f"/instances/{last['ID']}/file"
    made = http.get(uri, params={"transcode": JPEGLSLossless, "filename": "Jane.dcm"})
    assert made.headers["Content-Disposition"] == 'attachment; filename="Jane.dcm"'
    found, stored = dcmread(io.BytesIO(made.content)), dcmread(io.BytesIO(http.get(uri).content))
    assert found.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert found.SOPInstanceUID == stored.SOPInstanceUID
    small = http.get(uri, params={"transcode": "1.2.840.10008.1.2.4.91", "lossy-quality": "10"})
    assert small.status_code in (200, 406), small.text
    wrong = http.get(uri, params={"transcode": "1.2.3"})
    assert (wrong.status_code, "transcode" in wrong.json()["Details"]) == (400, True)
    assert http.get(uri, params={"transcode": JPEGLSLossless, "lossy-quality": "0"}).status_code == 400
