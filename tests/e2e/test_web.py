"""DICOMweb and Orthanc clients against a running archive: dicomweb-client, pyorthanc, plain HTTP."""

import base64
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from orthanc_api_client import OrthancApiClient
from pydicom.uid import generate_uid
from pyorthanc import Orthanc, find_instances, find_patients, find_series, find_studies, upload

from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes
from support.packs.sealed_packs import part10

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]


def test_dicomweb_client_reads_what_it_just_wrote(archive: RunningArchive) -> None:
    client = DICOMwebClient(archive.dicomweb)
    datasets = [ct_slice(study=(study := generate_uid())) for _ in range(1)]
    datasets += [ct_slice(study=study, series=datasets[0].SeriesInstanceUID, number=n) for n in (2, 3)]
    answer = client.store_instances(datasets)
    assert len(answer.ReferencedSOPSequence) == 3
    found = client.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert [s["00201208"]["Value"] for s in found] == [[3]]
    assert len(client.search_for_instances(study)) == 3
    back = client.retrieve_study(study)
    assert {d.SOPInstanceUID: d.PixelData for d in back} == {d.SOPInstanceUID: d.PixelData for d in datasets}
    metadata = client.retrieve_study_metadata(study)
    assert {m["00080018"]["Value"][0] for m in metadata} == {d.SOPInstanceUID for d in datasets}
    one = client.retrieve_instance(study, datasets[0].SeriesInstanceUID, datasets[0].SOPInstanceUID)
    assert one.PixelData == datasets[0].PixelData


def test_qido_searches_names_and_ranges_and_says_when_there_is_more(archive: RunningArchive, tmp_path: Path) -> None:
    name = f"Zoë^{generate_uid()[-12:]}"
    for day in range(1, 4):
        path = saved(ct_slice(PatientName=name, StudyDate=f"2023010{day}"), tmp_path)
        httpx.post(f"{archive.url}/instances", content=path.read_bytes()).raise_for_status()
    query = {"PatientName": name.lower().replace("ë", "e"), "StudyDate": "20230102-20230103"}
    answer = archive.get("/dicom-web/studies", params={**query, "includefield": "StudyDescription"})
    assert sorted(s["00080020"]["Value"][0] for s in answer.json()) == ["20230102", "20230103"]
    assert all(s["00081030"]["Value"] == ["Test study"] for s in answer.json())
    limited = archive.get("/dicom-web/studies", params={**query, "limit": "1"})
    assert len(limited.json()) == 1
    assert "299" in limited.headers["Warning"]


def test_pyorthanc_uploads_walks_and_downloads(archive: RunningArchive, tmp_path: Path) -> None:
    client = Orthanc(archive.url)
    dataset = ct_slice(PatientID=(patient_id := generate_uid()[-16:]))
    path = saved(dataset, tmp_path)
    (first,) = upload(client, path)
    again = client.post_instances(path.read_bytes())
    assert (again["Status"], again["ID"]) == ("AlreadyStored", first.id_)
    instance = client.get_instances_id(again["ID"])
    series = client.get_series_id(instance["ParentSeries"])
    study = client.get_studies_id(series["ParentStudy"])
    patient = client.get_patients_id(study["ParentPatient"])
    assert patient["MainDicomTags"]["PatientID"] == patient_id
    assert study["ID"] in client.get_studies()
    assert client.get_instances_id_file(again["ID"]) == path.read_bytes()
    assert client.post_tools_lookup(dataset.StudyInstanceUID)[0]["ID"] == study["ID"]
    found = find_studies(client, query={"PatientID": patient_id})
    assert [s.uid for s in found] == [dataset.StudyInstanceUID]
    assert client.get_system()["DicomAet"] == archive.aet
    assert client.get_statistics()["CountInstances"] >= 1


def test_pyorthanc_s_resources_have_their_attributes(archive: RunningArchive, tmp_path: Path) -> None:
    client = Orthanc(archive.url)
    patient_id = generate_uid()[-16:]
    dataset = ct_slice(PatientID=patient_id, PatientWeight="70.5", StudyDescription="Walk")
    upload(client, saved(dataset, tmp_path))
    (patient,) = find_patients(client, query={"PatientID": patient_id})
    (study,) = find_studies(client, query={"PatientID": patient_id, "PatientWeight": "70.5"})
    (series,) = find_series(client, query={"StudyInstanceUID": str(dataset.StudyInstanceUID)})
    (instance,) = find_instances(client, query={"SOPInstanceUID": str(dataset.SOPInstanceUID)})
    assert (patient.studies, study.series, series.instances) == ([study], [series], [instance])
    assert (instance.parent_series, series.parent_study, study.parent_patient) == (series, study, patient)
    for resource in (patient, study, series, instance):
        assert resource.labels == []
        assert resource.get_main_information()["ID"] == resource.id_
        assert resource.main_dicom_tags
    for resource in (patient, study, series):
        assert abs(resource.last_update - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=10)
        assert resource.shared_tags["PatientID"] == patient_id
    assert (patient.patient_id, study.description, series.modality) == (patient_id, "Walk", "CT")
    assert patient.protected is False
    eventually(lambda: all(each.is_stable for each in (patient, study, series)))
    assert instance.get_pydicom().SOPInstanceUID == dataset.SOPInstanceUID


def test_orthanc_s_clients_make_instances_and_order_slices(archive: RunningArchive, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()
    client = OrthancApiClient(archive.url)
    slices = [
        ct_slice(study=study, series=series, number=n, ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                 ImagePositionPatient=[0, 0, z], PatientID="MAKE")
        for n, z in ((1, 3), (2, 1), (3, 2))
    ]  # fmt: skip
    ids = [client.upload(part10(each))[0] for each in slices]
    parent = client.instances.get_parent_series_id(ids[0])
    assert client.series.get_middle_instance_id(parent) == ids[2]
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4 nothing")
    made = client.studies.attach_pdf(client.studies.lookup(study), str(tmp_path / "report.pdf"), "report")
    tags = client.instances.get_tags(made)
    assert (tags["PatientID"], tags["StudyInstanceUID"], tags["SeriesDescription"]) == ("MAKE", study, "report")
    assert httpx.get(f"{archive.url}/instances/{made}/pdf").content == b"%PDF-1.4 nothing"
    picture = f"data:image/png;base64,{base64.b64encode(imagecodecs.png_encode(np.zeros((1, 1), 'uint8'))).decode()}"
    answer = Orthanc(archive.url).post_tools_create_dicom(json={"Tags": {"PatientID": "MAKE"}, "Content": picture})
    assert Orthanc(archive.url).get_instances_id_simplified_tags(answer["ID"])["Rows"] == "1"


def test_a_file_comes_by_ranges_and_head_tells_its_length(archive: RunningArchive) -> None:
    body = _part10()
    path = f"{archive.url}{httpx.post(f'{archive.url}/instances', content=body).json()['Path']}/file"
    assert httpx.head(path).headers["Content-Length"] == str(len(body))
    part = httpx.get(path, headers={"Range": "bytes=128-131"})
    assert (part.status_code, part.content) == (206, b"DICM")


def test_the_change_log_tells_of_what_came_in(archive: RunningArchive) -> None:
    last = archive.get("/changes?last").json()["Last"]
    body = httpx.post(f"{archive.url}/instances", content=_part10()).json()
    changes = eventually(lambda: archive.get(f"/changes?since={last}").json()["Changes"])
    assert {"NewInstance", "NewSeries", "NewStudy"} <= {c["ChangeType"] for c in changes}
    assert body["ID"] in {c["ID"] for c in changes}


def test_other_bytes_under_a_known_uid_are_kept_aside(archive: RunningArchive, tmp_path: Path) -> None:
    first = ct_slice()
    second = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    kept, other = saved(first, tmp_path / "a"), saved(second, tmp_path / "b")
    identifier = httpx.post(f"{archive.url}/instances", content=kept.read_bytes()).json()["ID"]
    before = archive.get("/statistics").json()
    assert archive.send([other]) == [0x0000]
    uid = str(first.SOPInstanceUID)
    eventually(lambda: uid in archive.get("/conflicts").text)
    assert dataset_bytes(archive.get(f"/instances/{identifier}/file").content) == dataset_bytes(kept)
    assert archive.get("/statistics").json()["CountInstances"] == before["CountInstances"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/dicom-web/studies/1.2.3/metadata", 404),
        ("/dicom-web/studies?limit=many", 400),
        ("/dicom-web/studies?StudyDate=yesterday", 400),
        ("/instances/no-such-identifier", 404),
        ("/dicom-web/studies/../../etc/passwd", 404),
    ],
)
def test_bad_requests_get_a_clear_answer(archive: RunningArchive, path: str, status: int) -> None:
    answer = httpx.get(archive.url + path)
    assert answer.status_code == status
    assert answer.headers["content-type"].split(";")[0] in ("application/problem+json", "application/json")


def _part10() -> bytes:
    buffer = BytesIO()
    ct_slice().save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
