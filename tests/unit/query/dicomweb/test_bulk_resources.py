"""The resources bulkdata and pixeldata of studies, series and instances, and instances as bulk data (PS3.18 10.4.1)."""

import re

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless

from support.dicom.datasets import ct_slice
from support.dicom.documents import MP4_DATA, document, report, video
from support.dicom.pixels.images import image
from support.dicom.real_files import BUNDLED
from support.imaging.in_process import InProcessImaging
from support.query.application import WEB, RunningQuery, multipart, split_multipart

OCTETS = "application/octet-stream"
PARTS = f'multipart/related; type="{OCTETS}"'
NATIVE = "1.2.840.10008.1.2.1"


def url_of(dataset: Dataset, below: str = "") -> str:
    """Return the URL of an instance."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"{WEB}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}{below}"


def levels(dataset: Dataset, resource: str) -> list[str]:
    """Return the URLs of a resource of the instance, its series and its study."""
    instance = url_of(dataset)
    series, study = instance.partition("/instances/")[0], instance.partition("/series/")[0]
    return [f"{one}{resource}" for one in (instance, series, study)]


def locations(response: httpx.Response) -> list[str]:
    """Return the Content-Location of each part."""
    return [found.decode() for found in re.findall(rb"Content-Location: (\S+)", response.content)]


async def test_each_level_has_its_bulk_data_with_the_uri_of_the_metadata(archive: RunningQuery) -> None:
    item = Dataset()
    item.add_new(0x00091010, "OB", bytes(range(256)) * 20)
    item.add_new(0x00090010, "LO", "OSTEON TEST")
    first = ct_slice(RequestAttributesSequence=[item])
    second = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2)
    third = ct_slice(study=first.StudyInstanceUID, number=3)
    await archive.stow(first, second, third)
    values = {item[0x00091010].value, first.PixelData}, {second.PixelData}, {third.PixelData}
    expected = [values[0], values[0] | values[1], values[0] | values[1] | values[2]]
    for url, wanted in zip(levels(first, "/bulkdata"), expected, strict=True):
        response = await archive.http.get(url, headers={"Accept": PARTS})
        assert response.status_code == 200
        parts = split_multipart(response)
        assert {content for _, content in parts} == wanted
        assert {kind for kind, _ in parts} == {f"{OCTETS}; transfer-syntax={NATIVE}"}
        for uri, (_, content) in zip(locations(response), parts, strict=True):
            assert (await archive.http.get(uri)).content == content
    for url, wanted in zip(levels(first, "/pixeldata"), expected, strict=True):
        parts = split_multipart(await archive.http.get(url, headers={"Accept": PARTS}))
        assert {content for _, content in parts} == wanted - {item[0x00091010].value}
    for url, wanted in zip(levels(first, ""), expected, strict=True):
        parts = split_multipart(await archive.http.get(url, headers={"Accept": PARTS}))
        assert {content for _, content in parts} == wanted


@pytest.mark.parametrize("resource", ["/bulkdata", "/pixeldata"])
async def test_compressed_frames_come_as_stored_each_in_a_part(archive: RunningQuery, resource: str) -> None:
    dataset = image(frames=3)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    await archive.stow(dataset)
    base = f"http://archive.test{url_of(dataset)}/bulk/7FE00010"
    for url in levels(dataset, resource):
        for accept in ('multipart/related; type="image/dicom-rle"', f"{PARTS}; transfer-syntax=*"):
            response = await archive.http.get(url, headers={"Accept": accept})
            kind = "image/dicom-rle" if "image" in accept else OCTETS
            assert [found for found, _ in split_multipart(response)] == [f"{kind}; transfer-syntax={RLELossless}"] * 3
            assert locations(response) == [f"{base}/frames/{number}" for number in (1, 2, 3)]
            for uri, (_, content) in zip(locations(response), split_multipart(response), strict=True):
                alone = await archive.http.get(uri, headers={"Accept": "image/dicom-rle"})
                assert alone.content == content


async def test_a_compressed_frame_that_is_the_only_one_may_come_alone(archive: RunningQuery) -> None:
    dataset = image()
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    await archive.stow(dataset)
    alone = await archive.http.get(url_of(dataset, "/pixeldata"), params={"accept": "image/dicom-rle"})
    assert alone.headers["Content-Type"] == f"image/dicom-rle; transfer-syntax={RLELossless}"
    parts = await archive.http.get(
        url_of(dataset, "/pixeldata"), headers={"Accept": 'multipart/related; type="image/dicom-rle"'}
    )
    assert [content for _, content in split_multipart(parts)] == [alone.content]
    assert locations(parts) == [f"http://archive.test{url_of(dataset)}/bulk/7FE00010"]


async def test_octets_are_pixels_without_compression(archive: RunningQuery, pixels: InProcessImaging) -> None:
    plain = image(frames=2)
    packed = image(frames=2, seed=2)
    packed.StudyInstanceUID = plain.StudyInstanceUID
    native = packed.PixelData
    packed.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    await archive.stow(plain, packed)
    for url in levels(packed, "/pixeldata")[:2]:
        parts = split_multipart(await archive.http.get(url, headers={"Accept": PARTS}))
        assert {kind for kind, _ in parts} == {f"{OCTETS}; transfer-syntax={NATIVE}"}
        assert b"".join(content for _, content in parts) == native
    both = split_multipart(await archive.http.get(levels(packed, "/pixeldata")[2], headers={"Accept": PARTS}))
    assert sum(len(content) for _, content in both) == 2 * len(native)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg"),
        ("JPEG2000.dcm", "image/jp2"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls"),
        ("MR_small_RLE.dcm", "image/dicom-rle"),
    ],
)
async def test_frames_of_every_image_type_come_as_stored_alone_and_in_parts(
    archive: RunningQuery, name: str, kind: str
) -> None:
    path = next(BUNDLED.rglob(name))
    body, content_type = multipart([path.read_bytes()])
    stored = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": content_type})
    assert stored.status_code == 200
    dataset = dcmread(path)
    syntax = dataset.file_meta.TransferSyntaxUID
    streams = set()
    for below in ("/frames/1", "/pixeldata", "/bulk/7FE00010"):
        for accept in (f'multipart/related; type="{kind}"', f"{kind};q=0.9, text/css"):
            if below == "/bulk/7FE00010" and "multipart" not in accept:
                continue
            response = await archive.http.get(url_of(dataset, below), headers={"Accept": accept})
            assert response.status_code == 200, (below, accept, response.text)
            found = (
                split_multipart(response)
                if "multipart" in accept
                else [(response.headers["Content-Type"], response.content)]
            )
            assert [one for one, _ in found] == [f"{kind}; transfer-syntax={syntax}"]
            streams.add(found[0][1])
    assert len(streams) == 1


async def test_natural_types_come_in_one_answer_and_what_is_left_out_is_counted(archive: RunningQuery) -> None:
    paper = document()
    study = paper.StudyInstanceUID
    await archive.stow(paper, video(study=study), report(study=study))
    url = f"{WEB}/studies/{study}/bulkdata"
    everything = split_multipart(await archive.http.get(url))
    assert {(kind.partition(";")[0], content) for kind, content in everything} == {
        ("application/pdf", paper.EncapsulatedDocument),
        ("video/mp4", MP4_DATA),
    }
    only = await archive.http.get(url, headers={"Accept": 'multipart/related; type="application/pdf"'})
    assert only.status_code == 206
    assert "1 values" in only.headers["Warning"]
    assert split_multipart(only) == [("application/pdf", paper.EncapsulatedDocument)]
    octets = split_multipart(await archive.http.get(url, headers={"Accept": PARTS}))
    assert len(octets) == 2
    assert {kind.partition(";")[0] for kind, _ in octets} == {OCTETS}
    refused = await archive.http.get(url, headers={"Accept": "application/pdf"})
    assert refused.status_code == 406


async def test_metadata_and_pixel_data_can_be_stored_again(archive: RunningQuery) -> None:
    dataset = image(frames=2)
    frames = [bytes(range(100)), bytes(range(100, 200))]
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    await archive.stow(dataset)
    response = await archive.http.get(
        url_of(dataset, "/pixeldata"), headers={"Accept": 'multipart/related; type="image/jls"'}
    )
    (header,) = await archive.json(url_of(dataset, "/metadata"))
    for number, uri in enumerate(locations(response), 1):
        assert uri == f"{header['7FE00010']['BulkDataURI']}/frames/{number}"
    assert [content for _, content in split_multipart(response)] == frames


async def test_what_has_no_bulk_data_is_not_found_and_the_unknown_as_well(archive: RunningQuery) -> None:
    bare = report()
    await archive.stow(bare)
    for resource in ("/bulkdata", "/pixeldata"):
        for url in (*levels(bare, resource), *levels(ct_slice(), resource)):
            assert (await archive.http.get(url)).status_code == 404
    assert (await archive.http.get(f"{WEB}/studies/x/bulkdata")).status_code == 400


async def test_an_instance_that_cannot_be_decoded_is_left_out_among_others(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    good, bad = image(seed=3), image(seed=4)
    native = good.PixelData
    for dataset in (good, bad):
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    bad.StudyInstanceUID, bad.SeriesInstanceUID = good.StudyInstanceUID, good.SeriesInstanceUID
    bad.PixelData = encapsulate([b"no RLE"])
    await archive.stow(good, bad)
    response = await archive.http.get(levels(good, "/pixeldata")[1], headers={"Accept": PARTS})
    assert [content for _, content in split_multipart(response)] == [native]


async def test_the_answer_has_a_tag_until_it_would_differ(archive: RunningQuery) -> None:
    dataset = ct_slice()
    other = ct_slice(study=dataset.StudyInstanceUID)
    await archive.stow(dataset, other)
    url = levels(dataset, "/bulkdata")[2]
    tag = (await archive.http.get(url, headers={"Accept": PARTS})).headers["ETag"]
    known = {"Accept": PARTS, "If-None-Match": tag}
    assert (await archive.http.get(url, headers=known)).status_code == 304
    assert (await archive.http.get(url.replace("bulkdata", "pixeldata"), headers=known)).status_code == 200
    assert (await archive.http.head(url, headers={"Accept": PARTS})).status_code == 200
