"""WADO-RS over the embedded ports."""

from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from osteon.archive.resources import InstanceScope
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED
from support.packs.sealed_packs import part10
from support.query.application import BASE, WEB, RunningQuery, multipart, split_multipart

DICOM = 'multipart/related; type="application/dicom"'


def url_of(dataset: Dataset, below: str = "") -> str:
    """Return the URL of an instance."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"{WEB}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}{below}"


async def series(archive: RunningQuery, count: int = 5, study: str | None = None) -> list[Dataset]:
    """Store a series."""
    study, uid = study or generate_uid(), generate_uid()
    datasets = [ct_slice(study=study, series=uid, number=n) for n in range(count)]
    await archive.stow(*datasets)
    return datasets


async def test_a_study_comes_back_byte_for_byte_with_the_transfer_syntax_of_each_part(archive: RunningQuery) -> None:
    study = generate_uid()
    stored = [*await series(archive, 5, study), *await series(archive, 3, study)]
    await series(archive)
    response = await archive.http.get(f"{WEB}/studies/{study}", headers={"Accept": DICOM})
    assert response.status_code == 200
    parts = split_multipart(response)
    assert {content for _, content in parts} == {part10(dataset) for dataset in stored}
    assert len(parts) == 8
    assert {kind for kind, _ in parts} == {f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"}


async def test_a_series_comes_back_without_the_study_s_other_series(archive: RunningQuery) -> None:
    study = generate_uid()
    stored = await series(archive, 4, study)
    await series(archive, 2, study)
    response = await archive.http.get(f"{WEB}/studies/{study}/series/{stored[0].SeriesInstanceUID}")
    assert {content for _, content in split_multipart(response)} == {part10(dataset) for dataset in stored}


async def test_an_instance_from_the_middle_of_a_pack_comes_back(archive: RunningQuery) -> None:
    stored = await series(archive)
    response = await archive.http.get(url_of(stored[2]))
    assert [content for _, content in split_multipart(response)] == [part10(stored[2])]


async def test_an_instance_comes_alone_when_only_that_is_accepted(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    response = await archive.http.get(url_of(dataset), headers={"Accept": "application/dicom"})
    assert response.headers["Content-Type"].startswith("application/dicom;")
    assert int(response.headers["Content-Length"]) == len(part10(dataset))
    assert response.content == part10(dataset)


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        DICOM,
        DICOM + "; transfer-syntax=*",
        DICOM + f"; transfer-syntax={ExplicitVRLittleEndian}",
        DICOM + "; transfer-syntax=1.2.840.10008.1.2.4.70, " + DICOM + f"; transfer-syntax={ExplicitVRLittleEndian}",
        "multipart/related",
        "text/html, multipart/related; type=application/dicom;q=0.5",
    ],
)
async def test_what_clients_accept_is_sent_as_stored(archive: RunningQuery, accept: str) -> None:
    (dataset,) = await series(archive, 1)
    response = await archive.http.get(f"{WEB}/studies/{dataset.StudyInstanceUID}", headers={"Accept": accept})
    assert response.status_code == 200, response.text
    assert [content for _, content in split_multipart(response)] == [part10(dataset)]


@pytest.mark.parametrize(
    "accept",
    [
        DICOM + "; transfer-syntax=1.2.840.10008.1.2.4.100",
        DICOM + "; transfer-syntax=1.2.3",
        "application/dicom",
        "image/jpeg",
        'multipart/related; type="image/jpeg"',
        "*/*;q=0",
        '"',
        ",;,=",
    ],
)
async def test_what_can_not_be_made_is_not_acceptable(archive: RunningQuery, accept: str) -> None:
    (dataset,) = await series(archive, 1)
    response = await archive.http.get(f"{WEB}/studies/{dataset.StudyInstanceUID}", headers={"Accept": accept})
    assert response.status_code == 406, response.headers
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Accept" in response.json()["detail"]


async def test_the_accept_parameter_counts_like_the_header(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    response = await archive.http.get(url_of(dataset), params={"accept": "application/dicom"})
    assert response.content == part10(dataset)


@pytest.mark.parametrize("below", ["", "/metadata", "/bulk/7FE00010"])
async def test_what_the_archive_does_not_hold_is_not_found(archive: RunningQuery, below: str) -> None:
    await series(archive, 1)
    path = url_of(ct_slice(), below)
    for unknown in {path, path.split("/instances/")[0], path.split("/series/")[0]}:
        if "/bulk/" not in below or "/instances/" in unknown:
            response = await archive.http.get(unknown)
            assert response.status_code == 404, unknown
            assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("uid", ["abc", "1.2.3%2F..", "1" * 65, "1.2%00", "%F0%9F%A6%B4", "1.2'--", "..%2f..%2fetc"])
async def test_what_is_no_uid_is_refused_by_name(archive: RunningQuery, uid: str) -> None:
    response = await archive.http.get(f"{WEB}/studies/{uid}/metadata")
    assert response.status_code in (400, 404)
    response = await archive.http.get(f"{WEB}/studies/{uid}")
    assert response.status_code in (400, 404)
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_metadata_of_a_study_has_every_header_once(archive: RunningQuery) -> None:
    study = generate_uid()
    stored = [*await series(archive, 3, study), *await series(archive, 2, study)]
    response = await archive.http.get(f"{WEB}/studies/{study}/metadata")
    assert response.headers["Content-Type"] == "application/dicom+json"
    found = {item["00080018"]["Value"][0]: item for item in response.json()}
    assert set(found) == {dataset.SOPInstanceUID for dataset in stored}
    assert len(response.json()) == 5
    one = found[stored[0].SOPInstanceUID]
    assert one["00100010"]["Value"][0]["Alphabetic"] == "Test^Osteon"
    assert one["00280010"]["Value"] == [64]


async def test_metadata_of_one_instance_leads_to_its_pixel_data(archive: RunningQuery) -> None:
    dataset = (await series(archive))[3]
    (header,) = await archive.json(url_of(dataset, "/metadata"))
    address = header["7FE00010"]["BulkDataURI"]
    assert address.startswith(f"{BASE}{url_of(dataset)}/bulk/")
    response = await archive.http.get(address)
    assert response.headers["Content-Type"].startswith("application/octet-stream")
    assert response.content == dataset.PixelData
    several = await archive.http.get(address, headers={"Accept": 'multipart/related; type="application/octet-stream"'})
    assert [content for _, content in split_multipart(several)] == [dataset.PixelData]


async def test_a_header_that_quotes_a_bulk_reference_is_not_changed(archive: RunningQuery) -> None:
    text = '"BulkDataURI":"bulk/x"'
    dataset = ct_slice(PatientComments=text)
    await archive.stow(dataset)
    (header,) = await archive.json(url_of(dataset, "/metadata"))
    assert header["00104000"]["Value"] == [text]


async def test_the_public_url_is_used_when_it_is_set(archive: RunningQuery) -> None:
    dataset = (await series(archive, 1))[0]
    archive.change(settings=archive.settings.model_copy(update={"public_url": 'https://pacs.example/a"b/'}))
    (header,) = await archive.json(url_of(dataset, "/metadata"))
    assert header["7FE00010"]["BulkDataURI"].startswith('https://pacs.example/a"b/dicom-web/studies/')


async def test_a_byte_range_of_bulk_data_is_partial_content(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    path = url_of(dataset, "/bulk/7FE00010")
    response = await archive.http.get(path, headers={"Range": "bytes=100-199"})
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes 100-199/{len(dataset.PixelData)}"
    assert response.content == dataset.PixelData[100:200]
    tail = await archive.http.get(path, headers={"Range": "bytes=-10"})
    assert tail.content == dataset.PixelData[-10:]
    beyond = await archive.http.get(path, headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416


async def test_bulk_data_that_the_instance_has_not_is_not_found(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    for path in ("/bulk/00100010", "/bulk/..%2F..%2Fx", "/bulk/7FE00010/0"):
        assert (await archive.http.get(url_of(dataset, path))).status_code == 404


async def test_head_has_the_headers_of_get_and_no_body(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    for path in (url_of(dataset), url_of(dataset, "/metadata"), f"{WEB}/studies"):
        get, head = await archive.http.get(path), await archive.http.head(path)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["Content-Type"].split(";")[0] == get.headers["Content-Type"].split(";")[0]
    assert (await archive.http.head(url_of(ct_slice()))).status_code == 404


async def test_a_trailing_slash_does_not_count(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    assert (await archive.http.get(url_of(dataset) + "/")).status_code == 200


async def test_an_object_that_the_store_lost_is_a_server_error_and_not_unknown(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    for tar in (archive.folder / "objects").rglob("*.tar"):
        tar.unlink()
    response = await archive.http.get(url_of(dataset))
    assert response.status_code == 500
    assert ".tar" in response.json()["detail"]


async def test_a_pack_that_was_cut_short_never_looks_complete(archive: RunningQuery) -> None:
    datasets = await series(archive, 3)
    for tar in (archive.folder / "objects").rglob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:-12_000])
    response = await archive.http.get(f"{WEB}/studies/{datasets[0].StudyInstanceUID}")
    assert response.status_code == 500 or not response.content.endswith(b"--\r\n")


async def test_a_byte_that_changed_in_the_store_is_never_sent_as_a_whole_instance(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    (at,) = [at async for at in archive.state.index.locate(InstanceScope())]
    tar = archive.folder / "objects" / at.key
    damaged = bytearray(tar.read_bytes())
    damaged[at.offset + at.length - 1] ^= 1
    tar.write_bytes(damaged)
    file = f"/instances/{at.public_id}/file"
    for url in (url_of(dataset), file):
        response = await archive.http.get(url)
        assert response.status_code == 500, url
        assert "checksum" in response.text
    part = await archive.http.get(file, headers={"Range": "bytes=0-131"})
    assert (part.status_code, part.content[-4:]) == (206, b"DICM")


async def test_every_file_that_pydicom_brings_comes_back_equal(archive: RunningQuery) -> None:
    names = [
        "CT_small.dcm", "JPEG2000.dcm", "color3d_jpeg_baseline.dcm", "image_dfl.dcm",
        "MR_small_bigendian.dcm", "rtplan.dcm", "reportsi.dcm", "chrH31.dcm",
    ]  # fmt: skip
    files = [path for name in names if (path := _bundled(name)) is not None]
    assert len(files) >= 5
    for path in files:
        body, kind = multipart([path.read_bytes()])
        response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
        assert response.status_code == 200, f"{path.name}: {response.text}"
        found = await archive.http.get(url_of(dcmread(path)), headers={"Accept": f"{DICOM}; transfer-syntax=*"})
        assert [content for _, content in split_multipart(found)] == [path.read_bytes()], path.name


def _bundled(name: str) -> Path | None:
    found = [*BUNDLED.rglob(name), *Path(pydicom.data.__file__).parent.rglob(f"charset_files/{name}")]
    if not found:
        return None
    dataset = dcmread(found[0], stop_before_pixels=True)
    return found[0] if "StudyInstanceUID" in dataset and "SeriesInstanceUID" in dataset else None


async def test_a_port_that_the_client_left_out_of_host_is_put_back_unless_a_proxy_speaks(archive: RunningQuery) -> None:
    (dataset,) = await series(archive, 1)
    transport = httpx.ASGITransport(archive.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://archive.test:8042") as http:
        for headers, start in (
            ({"Host": "archive.test"}, "http://archive.test:8042/"),
            ({"Host": "archive.test", "X-Forwarded-For": "10.0.0.1"}, "http://archive.test/"),
        ):
            (header,) = (await http.get(url_of(dataset, "/metadata"), headers=headers)).json()
            assert header["7FE00010"]["BulkDataURI"].startswith(start)
