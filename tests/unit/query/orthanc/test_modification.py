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
