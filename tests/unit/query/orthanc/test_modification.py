"""`osteon_query.orthanc.modification`: changed files, and what is refused."""

import io
from typing import Any

import pytest
from pydicom import dcmread

from support.dicom.datasets import ct_slice
from support.query.application import RunningQuery
from unit.query.orthanc.test_resources import UNKNOWN, id_of


async def test_an_instance_is_sent_changed_and_nothing_is_stored(archive: RunningQuery) -> None:
    source = ct_slice()
    await archive.stow(source)
    body = {"Replace": {"PatientName": "Doe^Jane"}, "Nonsense": 1}
    response = await archive.http.post(f"/instances/{id_of(source, 4)}/modify", json=body)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/dicom")
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert "Nonsense" in response.headers["Warning"]
    made = dcmread(io.BytesIO(response.content))
    assert (made.PatientName, made.StudyInstanceUID) == ("Doe^Jane", source.StudyInstanceUID)
    assert made.SOPInstanceUID != source.SOPInstanceUID
    assert made.PixelData == source.PixelData
    assert await archive.json("/instances") == [id_of(source, 4)]
    assert list(archive.state.uploads.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"Replace": {"PatientID": "x"}}, 400, "Force"),
        ({"Replace": {"Nope": "x"}}, 400, "Nope"),
        ({"Transcode": "1.2.3"}, 400, "Transcode"),
    ],
)
async def test_a_body_that_cannot_be_is_refused_by_name(
    archive: RunningQuery, body: dict[str, Any], status: int, named: str
) -> None:
    source = ct_slice()
    await archive.stow(source)
    response = await archive.http.post(f"/instances/{id_of(source, 4)}/modify", json=body)
    assert response.status_code == status
    assert named in response.json()["Details"]


async def test_an_unknown_instance_is_not_found(archive: RunningQuery) -> None:
    assert (await archive.http.post(f"/instances/{UNKNOWN}/modify", json={})).status_code == 404


async def submitted(archive: RunningQuery, path: str, **body: Any) -> dict[str, Any]:
    """Begin a job; return its parameters."""
    response = await archive.http.post(path, json={**body, "Asynchronous": True, "Priority": 3})
    assert response.status_code == 200, response.text
    job = await archive.state.jobs.get(response.json()["ID"])
    assert (response.json()["Path"], job.priority) == (f"/jobs/{job.id}", 3)
    return {"type": job.type, "content": job.content, **job.params}


async def test_each_level_begins_a_job_of_its_own_level(archive: RunningQuery) -> None:
    source = ct_slice()
    await archive.stow(source)
    for depth, segment, level in ((2, "studies", "STUDY"), (3, "series", "SERIES")):
        job = await submitted(archive, f"/{segment}/{id_of(source, depth)}/modify", Replace={"StudyID": "2"})
        assert (job["type"], job["modification"]["level"]) == ("ResourceModification", level)
        assert job["resources"] == job["content"]["ParentResources"] == [id_of(source, depth)]
        assert job["content"]["IsAnonymization"] is False
    bulk = await submitted(archive, "/tools/bulk-modify", Resources=[id_of(source, 4)], Level="Series", UserData="x")
    assert (bulk["bulk"], bulk["modification"]["level"], bulk["content"]["UserData"]) == (True, "SERIES", "x")
    bulk = await submitted(archive, "/tools/bulk-modify", Resources=[id_of(source, 4)])
    assert bulk["modification"]["level"] == "IMAGE"


async def test_a_merge_takes_patient_and_study_from_its_target(archive: RunningQuery) -> None:
    target, source = ct_slice(PatientName="Ziel^Jürgen", PatientID="T"), ct_slice(PatientID="S", PatientComments="x")
    await archive.stow(target)
    await archive.stow(source)
    path = f"/studies/{id_of(target, 2)}/merge"
    job = await submitted(archive, path, Resources=[id_of(source, 3)], KeepSource=True)
    change = job["modification"]
    assert (job["type"], change["level"], job["content"]["TargetStudy"]) == ("MergeStudy", "SERIES", id_of(target, 2))
    assert change["elements"]["00100010"]["Value"] == [{"Alphabetic": "Ziel^Jürgen"}]
    assert change["elements"]["0020000D"]["Value"] == [target.StudyInstanceUID]
    assert "00104000" in change["remove"]
    assert "00100010" not in change["remove"]
    assert "00080060" not in change["elements"]
    for body, status in (
        ({"Resources": [id_of(target, 3)], "KeepSource": True}, 404),
        ({"Resources": [id_of(source, 1)], "KeepSource": True}, 400),
        ({"Resources": [UNKNOWN], "KeepSource": True}, 404),
        ({"Resources": [], "KeepSource": True}, 400),
        ({"KeepSource": True}, 400),
        ({"Resources": [id_of(source, 3)]}, 501),
        ({"Resources": [id_of(source, 3)], "KeepSource": True, "Keep": ["SOPInstanceUID"]}, 501),
    ):
        assert (await archive.http.post(path, json=body)).status_code == status, body


async def test_a_split_changes_patient_and_study_only(archive: RunningQuery) -> None:
    source, other = ct_slice(), ct_slice()
    await archive.stow(source)
    await archive.stow(other)
    path, series = f"/studies/{id_of(source, 2)}/split", [id_of(source, 3)]
    job = await submitted(archive, path, Series=series, KeepSource=True, Replace={"PatientID": "x"})
    assert (job["type"], job["modification"]["level"]) == ("SplitStudy", "STUDY")
    for body, status, named in (
        ({"KeepSource": True}, 400, "Instances"),
        ({"Series": [id_of(other, 3)], "KeepSource": True}, 404, "does not belong"),
        ({"Series": [id_of(source, 2)], "KeepSource": True}, 404, "does not belong"),
        ({"Series": series, "KeepSource": True, "Replace": {"SeriesDescription": "x"}}, 400, "SeriesDescription"),
        ({"Series": series, "KeepSource": True, "Replace": {"StudyInstanceUID": "1.2"}}, 400, "StudyInstanceUID"),
        ({"Series": series, "KeepSource": True, "Remove": ["Modality"]}, 400, "Modality"),
        ({"Series": series}, 501, "KeepSource"),
    ):
        response = await archive.http.post(path, json=body)
        assert (response.status_code, named in response.json()["Details"]) == (status, True), body


async def test_nothing_stored_is_deleted_or_replaced(archive: RunningQuery) -> None:
    source = ct_slice()
    await archive.stow(source)
    path = f"/studies/{id_of(source, 2)}/modify"
    for body in ({"KeepSource": False}, {"Keep": ["SOPInstanceUID"], "Force": True}):
        assert (await archive.http.post(path, json=body)).status_code == 501
    assert await archive.state.jobs.list() == []
