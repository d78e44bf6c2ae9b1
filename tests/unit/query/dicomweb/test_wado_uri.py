"""WADO-URI over the embedded ports."""

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from support.dicom.datasets import ct_slice
from support.dicom.pixels.images import image
from support.imaging.in_process import InProcessImaging
from support.packs.sealed_packs import part10
from support.query.application import RunningQuery, without_drawer


def query(dataset: Dataset, **more: str) -> dict[str, str]:
    """Return the query string for an instance."""
    return {
        "requestType": "WADO",
        "studyUID": str(dataset.StudyInstanceUID),
        "seriesUID": str(dataset.SeriesInstanceUID),
        "objectUID": str(dataset.SOPInstanceUID),
        **more,
    }


async def test_an_instance_comes_as_file_with_its_tag_and_by_range(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    params = query(dataset, contentType="application/dicom")
    response = await archive.http.get("/wado", params=params)
    assert response.content == part10(dataset)
    assert response.headers["Content-Type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    again = await archive.http.get("/wado", params=params, headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
    part = await archive.http.get("/wado", params=params, headers={"Range": "bytes=128-131"})
    assert part.content == b"DICM"


async def test_a_file_comes_in_the_transfer_syntax_that_is_asked_for(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    params = query(dataset, contentType="application/dicom", transferSyntax=ImplicitVRLittleEndian)
    response = await archive.http.get("/wado", params=params)
    found = dcmread(BytesIO(response.content))
    assert found.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert found.PixelData == dataset.PixelData
    refused = await archive.http.get("/wado", params={**params, "transferSyntax": "1.2.840.10008.1.2.4.100"})
    assert refused.status_code == 406


@pytest.mark.parametrize(
    ("given", "kind", "start"),
    [
        ({}, "image/jpeg", b"\xff\xd8"),
        ({"contentType": "image/png"}, "image/png", b"\x89PNG"),
        ({"contentType": "text/html,image/gif;q=0.5"}, "image/gif", b"GIF89a"),
    ],
)
async def test_an_image_comes_as_picture_jpeg_unless_another_type_is_named(
    archive: RunningQuery, pixels: InProcessImaging, given: dict[str, str], kind: str, start: bytes
) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    response = await archive.http.get("/wado", params=query(dataset, **given))
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == kind
    assert response.content.startswith(start)


async def test_what_is_no_single_picture_comes_as_file_unless_one_is_named(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    bare = ct_slice()
    del bare.PixelData
    movie = image(frames=3)
    for dataset in (bare, movie):
        await archive.stow(dataset)
        response = await archive.http.get("/wado", params=query(dataset))
        assert response.headers["Content-Type"].startswith("application/dicom;")
    named = await archive.http.get("/wado", params=query(movie, contentType="image/jpeg"))
    assert named.headers["Content-Type"] == "image/jpeg"
    refused = await archive.http.get("/wado", params=query(bare, contentType="image/jpeg"))
    assert refused.status_code == 406
    assert "application/dicom" in refused.json()["Details"]


async def test_the_picture_is_what_the_parameters_say(archive: RunningQuery, pixels: InProcessImaging) -> None:
    dataset = image(frames=3, rows=100, columns=200)
    without_drawer(archive)
    await archive.stow(dataset)
    asked = {
        "contentType": "image/png", "frameNumber": "2", "windowCenter": "40.5", "windowWidth": "400",
        "imageQuality": "55", "region": "0.25,0.5,0.75,1", "columns": "64", "rows": "32",
    }  # fmt: skip
    assert (await archive.http.get("/wado", params=query(dataset, **asked))).status_code == 200
    (message,) = pixels.rendered
    assert (message.frames, message.window, message.quality) == ([2], (40.5, 400.0, "linear"), 55)
    assert message.viewport == (64, 32, 50.0, 50.0, 100.0, 50.0)


@pytest.mark.parametrize(
    ("given", "status", "named"),
    [
        ({"requestType": "x"}, 400, "requestType"),
        ({"objectUID": "abc"}, 400, "objectUID"),
        ({"studyUID": "1.2.3"}, 404, "1.2.3"),
        ({"anonymize": "yes"}, 501, "anonymize"),
        ({"presentationUID": "1.2"}, 501, "presentationUID"),
        ({"frameNumber": "2"}, 404, "frame 2"),
        ({"frameNumber": "x"}, 400, "frameNumber"),
        ({"windowCenter": "1"}, 400, "windowWidth"),
        ({"windowCenter": "nan", "windowWidth": "4"}, 400, "windowCenter"),
        ({"windowCenter": "1", "windowWidth": "0"}, 400, "windowWidth"),
        ({"region": "0,0,2,1"}, 400, "region"),
        ({"region": "0.5,0,0.5,1"}, 400, "region"),
        ({"rows": "0"}, 400, "rows"),
        ({"imageQuality": "101"}, 400, "imageQuality"),
        ({"contentType": "text/html"}, 406, "contentType"),
    ],
)
async def test_what_can_not_be_done_is_refused_by_name(
    archive: RunningQuery, pixels: InProcessImaging, given: dict[str, str], status: int, named: str
) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    response = await archive.http.get("/wado", params={**query(dataset), **given})
    assert response.status_code == status, response.text
    assert named in response.json()["Details"]


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"annotation": "patient"}, "annotation"),
        ({"token": "abc"}, "token"),
        ({"contentType": "application/dicom", "rows": "5", "imageQuality": "x"}, "rows, imageQuality"),
    ],
)
async def test_what_is_not_supported_or_not_for_files_is_ignored_with_a_warning(
    archive: RunningQuery, given: dict[str, str], named: str
) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    response = await archive.http.get("/wado", params={**query(dataset), **given})
    assert response.status_code == 200, response.text
    assert named in response.headers["Warning"]


@pytest.mark.parametrize("missing", ["requestType", "studyUID", "seriesUID", "objectUID"])
async def test_a_parameter_that_is_missing_is_named(archive: RunningQuery, missing: str) -> None:
    params = query(ct_slice())
    del params[missing]
    response = await archive.http.get("/wado", params=params)
    assert response.status_code == 400
    assert missing in response.json()["Details"]
