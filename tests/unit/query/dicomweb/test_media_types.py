"""Documents, videos and waveforms in the media type of their own: from BulkDataURI, /rendered and WADO-URI."""

import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from support.dicom.datasets import ct_slice
from support.dicom.documents import MP4_DATA, PDF_DATA, document, video, waveform
from support.dicom.pixels.images import image
from support.imaging.in_process import InProcessImaging
from support.query.application import WEB, RunningQuery, split_multipart

OCTETS = "application/octet-stream"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
MPEG2 = "1.2.840.10008.1.2.4.100"
HEVC = "1.2.840.10008.1.2.4.107"


def url_of(dataset: Dataset, below: str = "") -> str:
    """Return the URL of an instance."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"{WEB}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}{below}"


def wado(dataset: Dataset, **more: str) -> dict[str, str]:
    """Return the query string of WADO-URI."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return {
        "requestType": "WADO",
        **dict(zip(("studyUID", "seriesUID", "objectUID"), map(str, uids), strict=True)),
        **more,
    }


def documents() -> dict[str, tuple[Dataset, str, bytes]]:
    """Return instances, each with the media type and the bytes that are in it."""
    stl, obj, mtl = b"solid x\nendsolid x\n", b"v 0 0 0\nv 1 1 1", b"newmtl red"
    cda = b'<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument/>'
    prefix, odd = "1.2.840.10008.5.1.4.1.1.104.", PDF_DATA + b"\n"
    return {
        "pdf": (document(), "application/pdf", PDF_DATA),
        "pdf with its length": (document(odd, EncapsulatedDocumentLength=len(odd)), "application/pdf", odd),
        "pdf by its class": (document(odd, ""), "application/pdf", odd + b"\0"),
        "cda": (document(cda, "text/XML", prefix + "2"), "text/xml", cda),
        "stl": (document(stl, "model/stl", prefix + "3"), "model/stl", stl + b"\0" * (len(stl) % 2)),
        "obj": (document(obj, "model/obj", prefix + "4"), "model/obj", obj),
        "mtl": (document(mtl, "model/mtl", prefix + "5"), "model/mtl", mtl),
        "mp4": (video(), "video/mp4", MP4_DATA),
        "mp4 in fragments": (video(fragments=7), "video/mp4", MP4_DATA),
        "mpeg-2": (video(syntax=MPEG2), "video/mpeg", MP4_DATA),
        "hevc": (video(syntax=HEVC), "video/mp4", MP4_DATA),
    }  # fmt: skip


def path_of(dataset: Dataset) -> str:
    """Return the path of the value in its BulkDataURI."""
    return "/bulk/7FE00010" if "PixelData" in dataset else "/bulk/00420011"


@pytest.mark.parametrize("name", documents())
async def test_a_value_comes_in_its_own_type_however_it_is_requested(archive: RunningQuery, name: str) -> None:
    dataset, kind, data = documents()[name]
    await archive.stow(dataset)
    if len(dataset[path_of(dataset)[-8:]].value) > 4096:
        (header,) = await archive.json(url_of(dataset, "/metadata"))
        assert header[path_of(dataset)[-8:]]["BulkDataURI"].endswith(path_of(dataset))
    below = [path_of(dataset), "/rendered"]
    if name not in ("mtl", "obj", "cda", "stl"):
        below.append("/bulkdata")
    for path in below:
        for given in (
            {"headers": {"Accept": kind}},
            {"params": {"accept": kind}},
            {"headers": {"Accept": BROWSER}},
            {"headers": {"Accept": "*/*"}},
            {"headers": {"Accept": f"image/png, {kind.partition('/')[0]}/*;q=0.4"}},
        ):
            alone = await archive.http.get(url_of(dataset, path), **given)
            assert alone.status_code == 200, (path, given, alone.text)
            assert alone.headers["Content-Type"].partition(";")[0] == kind
            assert alone.content == data
            assert alone.headers["X-Content-Type-Options"] == "nosniff"
        parts = await archive.http.get(url_of(dataset, path), headers={"Accept": f'multipart/related; type="{kind}"'})
        assert [(found.partition(";")[0], value) for found, value in split_multipart(parts)] == [(kind, data)]
        assert f'type="{kind}"' in parts.headers["Content-Type"]
        assert f"Content-Location: http://archive.test{url_of(dataset, path_of(dataset))}\r\n".encode() in parts.content
        refused = await archive.http.get(url_of(dataset, path), headers={"Accept": "text/css"})
        assert refused.status_code == 406
        assert kind in refused.json()["detail"]


@pytest.mark.parametrize("name", documents())
async def test_wado_uri_sends_the_type_that_is_named_and_a_file_without_one(archive: RunningQuery, name: str) -> None:
    dataset, kind, data = documents()[name]
    await archive.stow(dataset)
    named = await archive.http.get("/wado", params=wado(dataset, contentType=kind))
    assert (named.status_code, named.headers["Content-Type"], named.content) == (200, kind, data)
    plain = await archive.http.get("/wado", params=wado(dataset))
    assert plain.headers["Content-Type"].startswith("application/dicom;")
    ignored = await archive.http.get("/wado", params=wado(dataset, contentType=kind, rows="20"))
    assert "rows" in ignored.headers["Warning"]
    refused = await archive.http.get("/wado", params=wado(dataset, contentType="text/css"))
    assert (refused.status_code, kind in refused.json()["Details"]) == (406, True)


async def test_octets_are_the_bytes_of_the_data_set(archive: RunningQuery) -> None:
    for dataset in (document(PDF_DATA + b"\n"), video()):
        await archive.stow(dataset)
        value = dataset[path_of(dataset)[-8:]].value
        response = await archive.http.get(url_of(dataset, path_of(dataset)), headers={"Accept": OCTETS})
        assert response.headers["Content-Type"] == f"{OCTETS}; transfer-syntax={dataset.file_meta.TransferSyntaxUID}"
        assert value.startswith(response.content)
        assert len(value) - len(response.content) in (0, 8)
        assert response.headers["Content-Disposition"].startswith("attachment;")


@pytest.mark.parametrize("fragments", [1, 5])
@pytest.mark.parametrize("path", ["/rendered", "/bulk/7FE00010", "/pixeldata"])
async def test_a_video_is_read_by_byte_ranges(archive: RunningQuery, fragments: int, path: str) -> None:
    dataset = video(fragments=fragments)
    await archive.stow(dataset)
    url, size = url_of(dataset, path), len(MP4_DATA)
    for text, begin, stop in (
        ("bytes=0-", 0, size),
        ("bytes=0-0", 0, 1),
        ("bytes=2000-7999", 2000, 8000),
        ("bytes=-10", size - 10, size),
        (f"bytes={size - 1}-{size + 99}", size - 1, size),
    ):
        part = await archive.http.get(url, headers={"Range": text, "Accept": "*/*"})
        assert (part.status_code, part.content) == (206, MP4_DATA[begin:stop]), text
        assert part.headers["Content-Range"] == f"bytes {begin}-{stop - 1}/{size}"
        assert part.headers["Content-Type"].startswith("video/mp4")
    head = await archive.http.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["Content-Length"], head.headers["Accept-Ranges"]) == (str(size), "bytes")
    same = await archive.http.get(url, headers={"Range": "bytes=5-9", "If-Range": head.headers["ETag"]})
    assert (same.status_code, same.content) == (206, MP4_DATA[5:10])
    other = await archive.http.get(url, headers={"Range": "bytes=5-9", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, MP4_DATA)
    beyond = await archive.http.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    known = await archive.http.get(url, headers={"If-None-Match": head.headers["ETag"]})
    assert known.status_code == 304


async def test_browsers_show_pdf_and_video_and_save_what_could_run_scripts(archive: RunningQuery) -> None:
    script = b"<script>alert(1)</script>"
    shown = [document(), video()]
    saved = [document(script, kind) for kind in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml")]
    saved += [document(b"solid", "model/stl"), document(b"x", "x/y")]
    for dataset in (*shown, *saved):
        await archive.stow(dataset)
        for path in (path_of(dataset), "/rendered"):
            response = await archive.http.get(url_of(dataset, path))
            assert response.status_code == 200
            kept = dataset in saved
            disposition = response.headers["Content-Disposition"]
            assert disposition.startswith("attachment; filename=" if kept else "inline; filename=")
            assert dataset.SOPInstanceUID in disposition
            assert ("sandbox" in response.headers.get("Content-Security-Policy", "")) == kept
            assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "named", ["multipart/related; boundary=x", "application/dicom", "no type", "a/b\r\nX: y", "é/x"]
)
async def test_what_is_no_media_type_of_a_document_is_octets(archive: RunningQuery, named: str) -> None:
    dataset = document(PDF_DATA, named, "1.2.840.10008.5.1.4.1.1.7")
    await archive.stow(dataset)
    response = await archive.http.get(url_of(dataset, "/bulk/00420011"))
    assert response.headers["Content-Type"].startswith(f"{OCTETS}; transfer-syntax=")
    assert (await archive.http.get(url_of(dataset, "/rendered"))).status_code == 406


async def test_a_document_in_a_deflated_data_set_has_its_type_too(archive: RunningQuery) -> None:
    dataset = document()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    await archive.stow(dataset)
    for path in ("/bulk/00420011", "/rendered", "/bulkdata"):
        response = await archive.http.get(url_of(dataset, path), headers={"Range": "bytes=0-3"})
        assert (response.status_code, response.content) == (206, b"%PDF"), path
        assert response.headers["Content-Type"] == "application/pdf"


async def test_names_of_older_editions_are_understood(archive: RunningQuery) -> None:
    dataset = video(syntax=MPEG2)
    await archive.stow(dataset)
    for accept in ("video/mpeg2", 'multipart/related; type="video/mpeg2"'):
        assert (await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": accept})).status_code == 200


async def test_the_best_quality_decides_between_octets_and_the_own_type(archive: RunningQuery) -> None:
    dataset = document()
    await archive.stow(dataset)
    for accept, kind in (
        (f"application/pdf;q=0.3, {OCTETS};q=0.7", OCTETS),
        (f"application/pdf;q=0.7, {OCTETS};q=0.3", "application/pdf"),
        ("application/*", "application/pdf"),
        (f"text/html, {OCTETS}, */*;q=0.1", OCTETS),
        ("application/pdf;q=0, */*", "application/pdf"),
    ):
        response = await archive.http.get(url_of(dataset, "/bulk/00420011"), headers={"Accept": accept})
        assert response.headers["Content-Type"].partition(";")[0] == kind, accept


async def test_pictures_parameters_change_nothing_in_a_document_and_the_answer_warns(archive: RunningQuery) -> None:
    dataset = document()
    await archive.stow(dataset)
    response = await archive.http.get(url_of(dataset, "/rendered"), params={"window": "1,2", "viewport": "5,5"})
    assert response.status_code == 200
    assert "window, viewport" in response.headers["Warning"]


async def test_a_study_shows_its_images_and_its_documents_when_these_are_named(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    picture = ct_slice()
    study = picture.StudyInstanceUID
    papers = [document(study=study), document(PDF_DATA + b"second\n", study=study)]
    await archive.stow(picture, *papers)
    url = f"{WEB}/studies/{study}/rendered"
    shown = split_multipart(await archive.http.get(url))
    assert [kind for kind, _ in shown] == ["image/jpeg"]
    named = await archive.http.get(url, headers={"Accept": 'multipart/related; type="application/pdf"'})
    assert sorted(data for _, data in split_multipart(named)) == sorted(one.EncapsulatedDocument for one in papers)
    series = f"{WEB}/studies/{study}/series/{papers[0].SeriesInstanceUID}/rendered"
    only = split_multipart(await archive.http.get(series))
    assert only == [("application/pdf", papers[0].EncapsulatedDocument)]


async def test_a_waveform_is_bulk_data_and_has_no_picture(archive: RunningQuery, pixels: InProcessImaging) -> None:
    dataset = waveform()
    await archive.stow(dataset)
    (header,) = await archive.json(url_of(dataset, "/metadata"))
    address = header["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
    assert address.endswith("/bulk/54000100/0/54001010")
    for url in (address, url_of(dataset, "/bulkdata")):
        response = await archive.http.get(url, headers={"Accept": OCTETS})
        assert response.content == dataset.WaveformSequence[0][0x54001010].value
    refused = await archive.http.get(url_of(dataset, "/rendered"))
    assert refused.status_code == 406
    assert "/bulkdata" in refused.json()["detail"]


async def test_an_image_is_still_drawn(archive: RunningQuery, pixels: InProcessImaging) -> None:
    dataset = image()
    await archive.stow(dataset)
    assert (await archive.http.get(url_of(dataset, "/rendered"))).headers["Content-Type"] == "image/jpeg"
    refused = await archive.http.get(url_of(dataset, "/rendered"), headers={"Accept": "video/mp4"})
    assert refused.status_code == 406
