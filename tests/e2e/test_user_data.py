"""Labels, metadata and attachments by Orthanc's clients against a running archive: pyorthanc, orthanc-api-client."""

from pathlib import Path

import pytest
from orthanc_api_client import OrthancApiClient
from orthanc_api_client.exceptions import Conflict, ResourceNotFound
from pydicom.uid import generate_uid
from pyorthanc import Orthanc, Study, find_patients, find_series, find_studies, upload

from support.archive.running import RunningArchive
from support.dicom.datasets import ct_slice, saved

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]


def stored(archive: RunningArchive, folder: Path) -> tuple[Orthanc, Study]:
    """Store a study of its own patient; returns a client and the study."""
    client, patient_id = Orthanc(archive.url), generate_uid()[-16:]
    upload(client, saved(ct_slice(PatientID=patient_id), folder))
    (study,) = find_studies(client, query={"PatientID": patient_id})
    return client, study


def test_pyorthanc_labels_resources_and_finds_them(archive: RunningArchive, tmp_path: Path) -> None:
    client, study = stored(archive, tmp_path)
    label, other = f"l-{generate_uid()[-12:]}", f"o-{generate_uid()[-12:]}"
    study.add_label(label)
    study.add_label(other)
    (series,) = study.series
    series.add_label(label)
    assert study.labels == sorted([label, other])
    assert find_studies(client, labels=[label, other]) == [study]
    assert find_studies(client, labels=[label, "nobody"], labels_constraint="Any") == [study]
    assert find_studies(client, labels=[label, "nobody"]) == []
    assert find_series(client, labels=label) == [series]
    assert find_patients(client, labels=label) == []
    study.remove_label(other)
    assert study.labels == [label]
    assert {label} <= set(OrthancApiClient(archive.url).get_all_labels())


def test_pyorthanc_protects_a_patient_and_writes_metadata(archive: RunningArchive, tmp_path: Path) -> None:
    client, study = stored(archive, tmp_path)
    patient = study.parent_patient
    for protected in (True, False):
        patient.protected = protected
        assert patient.protected is protected
    client.put_studies_id_metadata_name(study.id_, "1024", data="read")
    assert client.get_studies_id_metadata_name(study.id_, "1024") in ("read", b"read")
    assert client.get_studies_id_metadata(study.id_, params={"expand": ""})["1024"] == "read"
    client.delete_studies_id_metadata_name(study.id_, "1024")
    assert "1024" not in client.get_studies_id_metadata(study.id_)


def test_orthanc_api_client_writes_metadata_and_attachments(archive: RunningArchive, tmp_path: Path) -> None:
    _, study = stored(archive, tmp_path)
    client = OrthancApiClient(archive.url)
    client.studies.add_labels(study.id_, ["a", "b"])
    client.studies.delete_label(study.id_, "a")
    assert client.studies.get_labels(study.id_) == ["b"]
    client.studies.set_string_metadata(study.id_, "1024", "önce")
    text, revision = client.studies.get_string_metadata_with_revision(study.id_, "1024")
    assert text == "önce"
    client.studies.set_string_metadata(study.id_, "1024", "twice", match_revision=revision)
    with pytest.raises(Conflict):
        client.studies.set_string_metadata(study.id_, "1024", "late", match_revision=revision)
    assert client.studies.get_string_metadata(study.id_, "1024") == "twice"
    assert not client.studies.has_metadata(study.id_, "1025")
    data = bytes(range(256)) * 8000
    client.studies.set_attachment(study.id_, "1030", content=data)
    found, revision = client.studies.get_attachment_with_revision(study.id_, "1030")
    assert found == data
    archive.post(f"/studies/{study.id_}/attachments/1030/compress")
    assert int(archive.get(f"/studies/{study.id_}/attachments/1030/compressed-size").text) < len(data)
    part = archive.get(f"/studies/{study.id_}/attachments/1030/data", headers={"Range": "bytes=1000000-1000255"})
    assert part.content == data[1_000_000:1_000_256]
    client.studies.set_attachment(study.id_, "1030", content=b"new", match_revision=revision)
    assert client.studies.get_attachment(study.id_, "1030") == b"new"
    with pytest.raises(ResourceNotFound):
        client.studies.get_attachment(study.id_, "1031")
