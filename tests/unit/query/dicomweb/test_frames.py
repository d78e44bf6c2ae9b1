"""WADO-RS frames and bulk data over the embedded ports."""

import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from osteon_query.limits import ApiLimits
from support.dicom.datasets import ct_slice, saved
from support.dicom.pixels.images import image, in_ge_syntax, wrapped
from support.dicom.real_files import BUNDLED
from support.imaging.in_process import InProcessImaging, nothing_below
from support.packs.sealed_packs import part10
from support.query.application import WEB, RunningQuery, multipart, short_uid, split_multipart

OCTETS = "application/octet-stream"
PARTS = f'multipart/related; type="{OCTETS}"'
JLS = "1.2.840.10008.1.2.4.80"
NATIVE = "1.2.840.10008.1.2.1"


def url_of(dataset: Dataset, below: str = "") -> str:
    """Return the URL of an instance."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"{WEB}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}{below}"


async def stored(archive: RunningQuery, dataset: Dataset) -> Dataset:
    """Store an instance and return it."""
    await archive.stow(dataset)
    return dataset


async def stored_file(archive: RunningQuery, name: str) -> Dataset:
    """Store a file of pydicom and return it."""
    path = next(BUNDLED.rglob(name))
    body, kind = multipart([path.read_bytes()])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 200, response.text
    return dcmread(path)


def native_frames(dataset: Dataset, count: int) -> list[bytes]:
    """Cut native pixel data."""
    size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    return [dataset.PixelData[n * size : (n + 1) * size] for n in range(count)]


async def test_native_frames_come_in_the_order_of_the_list_each_with_its_length_and_url(archive: RunningQuery) -> None:
    dataset = await stored(archive, image(frames=4, rows=30, columns=40))
    response = await archive.http.get(url_of(dataset, "/frames/3,1,4,1"), headers={"Accept": PARTS})
    frames = native_frames(dataset, 4)
    assert [content for _, content in split_multipart(response)] == [frames[i] for i in (2, 0, 3, 0)]
    assert {kind for kind, _ in split_multipart(response)} == {f"{OCTETS}; transfer-syntax={NATIVE}"}
    assert f"{url_of(dataset)}/frames/3".encode() in response.content
    assert int(response.headers["Content-Length"]) == len(response.content)


async def test_a_frame_is_read_by_its_byte_range_and_not_with_the_rest_of_the_instance(
    archive: RunningQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = await stored(archive, image(frames=50, rows=64, columns=64))
    reads: list[int] = []
    stream = archive.objects.stream

    def noting(key: str, offset: int = 0, length: int | None = None) -> object:
        reads.append(length or 0)
        return stream(key, offset, length)

    monkeypatch.setattr(archive.objects, "stream", noting)
    response = await archive.http.get(url_of(dataset, "/frames/33"), headers={"Accept": OCTETS})
    assert response.content == native_frames(dataset, 50)[32]
    assert sum(reads) == len(response.content)


async def test_a_single_frame_comes_alone_and_by_range(archive: RunningQuery) -> None:
    dataset = await stored(archive, image(frames=3))
    frame = native_frames(dataset, 3)[1]
    headers = {"Accept": OCTETS}
    response = await archive.http.get(url_of(dataset, "/frames/2"), headers=headers)
    assert response.content == frame
    assert response.headers["Content-Type"] == f"{OCTETS}; transfer-syntax={NATIVE}"
    part = await archive.http.get(url_of(dataset, "/frames/2"), headers={**headers, "Range": "bytes=4-9"})
    assert part.status_code == 206
    assert part.content == frame[4:10]
    again = await archive.http.get(
        url_of(dataset, "/frames/2"), headers={**headers, "If-None-Match": response.headers["ETag"]}
    )
    assert again.status_code == 304
    assert not again.content


@pytest.mark.parametrize("number", [0, 4, 999999999])
async def test_a_frame_that_the_instance_has_not_is_not_found_by_its_number(archive: RunningQuery, number: int) -> None:
    dataset = await stored(archive, image(frames=3))
    response = await archive.http.get(url_of(dataset, f"/frames/1,{number}"))
    assert response.status_code == (404 if number else 400)
    assert str(number) in response.json()["detail"]


@pytest.mark.parametrize("text", ["x", "1,,2", "-1", "1.5", "1-3", "%F0", "9" * 30, "1," * 10_001 + "1"])
async def test_what_is_no_list_of_frames_is_refused(archive: RunningQuery, text: str) -> None:
    dataset = await stored(archive, image(frames=3))
    response = await archive.http.get(url_of(dataset, f"/frames/{text}"))
    assert response.status_code == 400
    assert "frames" in response.json()["detail"]


async def test_an_instance_without_pixel_data_has_no_frames(archive: RunningQuery) -> None:
    dataset = ct_slice()
    del dataset.PixelData
    await stored(archive, dataset)
    response = await archive.http.get(url_of(dataset, "/frames/1"))
    assert response.status_code == 404
    assert "no pixel data" in response.json()["detail"]


async def test_frames_of_single_bits_begin_with_a_byte(archive: RunningQuery) -> None:
    dataset = await stored(archive, image(frames=3, rows=3, columns=5, allocated=1, stored=1))
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[:45].reshape(3, 15)
    response = await archive.http.get(url_of(dataset, "/frames/1,2,3"), headers={"Accept": PARTS})
    assert [content for _, content in split_multipart(response)] == [
        np.packbits(frame, bitorder="little").tobytes() for frame in bits
    ]


STREAMS = [bytes([number]) * (40 + 2 * number) for number in range(1, 5)]


def rle(*, fragments: int = 1, table: str = "basic") -> Dataset:
    """Return an instance whose frames are no real RLE, which nobody decodes here."""
    dataset = image(frames=4)
    if table == "extended":
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
            STREAMS
        )
    else:
        dataset.PixelData = encapsulate(STREAMS, fragments_per_frame=fragments, has_bot=table == "basic")
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    return dataset


@pytest.mark.parametrize(
    "mode",
    [{}, {"fragments": 3}, {"table": "none"}, {"table": "extended"}],
    ids=["table", "fragments", "no", "extended"],
)
async def test_encapsulated_frames_come_as_stored_however_they_are_found(
    archive: RunningQuery, mode: dict[str, object]
) -> None:
    dataset = await stored(archive, rle(**mode))  # type: ignore[arg-type]
    url = url_of(dataset, "/frames/4,2")
    for accept in (
        f"{PARTS}; transfer-syntax=*",
        'multipart/related; type="image/dicom-rle"',
        'multipart/related; type="image/*"',
    ):
        response = await archive.http.get(url, headers={"Accept": accept})
        assert response.status_code == 200, response.text
        assert [content for _, content in split_multipart(response)] == [STREAMS[3], STREAMS[1]]
    alone = await archive.http.get(url_of(dataset, "/frames/2"), headers={"Accept": "image/dicom-rle"})
    assert alone.content == STREAMS[1]
    assert alone.headers["Content-Type"] == f"image/dicom-rle; transfer-syntax={RLELossless}"


@pytest.mark.parametrize("accept", ["*/*", PARTS, f"{PARTS}; transfer-syntax={NATIVE}"])
async def test_who_names_no_transfer_syntax_gets_decoded_frames(
    archive: RunningQuery, pixels: InProcessImaging, accept: str
) -> None:
    dataset = await stored_file(archive, "MR_small_RLE.dcm")
    response = await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": accept})
    assert [content for _, content in split_multipart(response)] == [dataset.pixel_array.tobytes()]
    assert [message.mode for message in pixels.rendered] == ["frames"]


async def test_frames_of_ges_private_syntax_come_in_little_endian(
    archive: RunningQuery, pixels: InProcessImaging, tmp_path: Path
) -> None:
    dataset = image(frames=2)
    frames = native_frames(dataset, 2)
    dataset.PixelData = np.frombuffer(dataset.PixelData, np.uint16).byteswap().tobytes()
    body, kind = multipart([in_ge_syntax(dataset, tmp_path).read_bytes()])
    assert (await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})).status_code == 200
    response = await archive.http.get(url_of(dataset, "/frames/1,2"), headers={"Accept": PARTS})
    assert [content for _, content in split_multipart(response)] == frames
    assert {kind for kind, _ in split_multipart(response)} == {f"{OCTETS}; transfer-syntax={NATIVE}"}
    file = await archive.http.get(url_of(dataset), headers={"Accept": "application/dicom"})
    assert dcmread(BytesIO(file.content)).PixelData == b"".join(frames)


async def test_frames_of_a_jpeg_are_in_the_colours_that_its_metadata_promises(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = await stored_file(archive, "SC_rgb_dcmtk_+eb+cy+np.dcm")
    metadata = (await archive.http.get(url_of(dataset, "/metadata"))).json()[0]
    assert metadata["00280004"]["Value"] == ["YBR_FULL_422"]
    response = await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": OCTETS})
    samples = np.frombuffer(response.content, np.uint8).reshape(dataset.pixel_array.shape)
    assert np.abs(samples.astype(int) - pixel_array(dataset)).max() <= 2
    file = await archive.http.get(url_of(dataset), headers={"Accept": "application/dicom"})
    transcoded = dcmread(BytesIO(file.content))
    assert (transcoded.PhotometricInterpretation, transcoded.PixelData) == ("RGB", response.content)


@pytest.mark.parametrize("fragments", [True, False])
async def test_frames_whose_encoding_is_not_that_of_the_transfer_syntax_are_not_sent_under_its_name(
    archive: RunningQuery, pixels: InProcessImaging, fragments: bool, tmp_path: Path
) -> None:
    dataset = image()
    if fragments:
        dataset.PixelData = encapsulate([bytes(100)])
        path = wrapped(dataset, "5", [bytes(100)], tmp_path)
    else:
        path = saved(dataset, tmp_path)
    old, new = (b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0")
    old, new = (old, new) if fragments else (new, old)
    body, kind = multipart([path.read_bytes().replace(old, new)])
    assert (await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})).status_code == 200
    for accept in (OCTETS, "image/dicom-rle", "*/*"):
        response = await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": accept})
        assert response.status_code == 406, accept
    whole = await archive.http.get(url_of(dataset), headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert whole.status_code == 200


async def test_native_colours_that_are_only_called_subsampled_come_in_rgb(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = image(rows=2, columns=2, samples=3, allocated=8, stored=8, photometric="YBR_FULL_422")
    dataset.PixelData = bytes((76, 85, 255)) * 4
    await stored(archive, dataset)
    response = await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": OCTETS})
    assert np.abs(np.frombuffer(response.content, np.uint8).reshape(4, 3).astype(int) - (255, 0, 0)).max() <= 1
    dataset = image(rows=2, columns=2, samples=3, allocated=8, stored=8, photometric="YBR_FULL_422")
    dataset.PixelData = bytes(range(8))
    await stored(archive, dataset)
    response = await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": OCTETS})
    assert response.content == dataset.PixelData


@pytest.mark.parametrize(("name", "status"), [("SC_rgb_dcmtk_+eb+cy+np.dcm", 200), ("SC_rgb_dcmtk_+eb+cy+n1.dcm", 406)])
async def test_frames_are_compressed_otherwise_only_in_the_colours_that_metadata_promises(
    archive: RunningQuery, pixels: InProcessImaging, name: str, status: int
) -> None:
    dataset = await stored_file(archive, name)
    response = await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": "image/jls"})
    assert response.status_code == status
    if status == 200:
        samples = imagecodecs.jpegls_decode(response.content)
        assert np.abs(samples.astype(int) - pixel_array(dataset)).max() <= 2
    else:
        assert "would be RGB, and metadata says YBR_FULL" in response.json()["detail"]


async def test_many_decoded_frames_come_in_order_by_several_requests(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = image(frames=20)
    frames = native_frames(dataset, 20)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    await stored(archive, dataset)
    wanted = [*range(20, 0, -1), 7]
    url = url_of(dataset, f"/frames/{','.join(map(str, wanted))}")
    response = await archive.http.get(url, headers={"Accept": PARTS})
    assert [content for _, content in split_multipart(response)] == [frames[n - 1] for n in wanted]
    assert len(pixels.rendered) == 3


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian])
async def test_native_frames_are_little_endian_whatever_they_are_stored_in(
    archive: RunningQuery, pixels: InProcessImaging, syntax: str
) -> None:
    dataset = await stored(archive, image(frames=2))
    frames = native_frames(dataset, 2)
    other = image(frames=2, seed=1)
    other.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        other.PixelData = np.frombuffer(other.PixelData, "<u2").astype(">u2").tobytes()
        other["PixelData"].VR = "OW"
    body = BytesIO()
    other.save_as(body, enforce_file_format=True, little_endian=syntax != ExplicitVRBigEndian, implicit_vr=None)
    content, kind = multipart([body.getvalue()])
    assert (await archive.http.post(f"{WEB}/studies", content=content, headers={"Content-Type": kind})).is_success
    for accept in (f"{PARTS}; transfer-syntax=*", PARTS):
        response = await archive.http.get(url_of(other, "/frames/2"), headers={"Accept": accept})
        assert response.status_code == 200, response.text
        assert [content for _, content in split_multipart(response)] == [frames[1]]


async def test_frames_come_in_a_transfer_syntax_that_is_named(archive: RunningQuery, pixels: InProcessImaging) -> None:
    dataset = await stored(archive, image(frames=3, rows=30, columns=40))
    for accept, single in (('multipart/related; type="image/jls"', False), (f"image/jls; transfer-syntax={JLS}", True)):
        response = await archive.http.get(
            url_of(dataset, "/frames/2" if single else "/frames/3,2"), headers={"Accept": accept}
        )
        assert response.status_code == 200, response.text
        found = [response.content] if single else [content for _, content in split_multipart(response)]
        assert all(b"\xff\xf7" in content[:64] for content in found)
        assert response.headers["Content-Type"].startswith("image/jls" if single else "multipart/related")
    assert [message.targets for message in pixels.transcoded] == [[JLS], [JLS]]
    await nothing_below(archive.objects, "cache/transcoded/")


@pytest.mark.parametrize(
    "accept", ["text/html", "image/png", 'multipart/related; type="video/mp4"', f"{PARTS}; transfer-syntax=1.2.3"]
)
async def test_frames_that_can_not_be_made_are_not_acceptable_and_it_says_what_is(
    archive: RunningQuery, accept: str
) -> None:
    dataset = await stored(archive, image(frames=3))
    response = await archive.http.get(url_of(dataset, "/frames/1"), headers={"Accept": accept})
    assert response.status_code == 406
    assert NATIVE in response.json()["detail"]


async def test_several_frames_do_not_come_alone(archive: RunningQuery) -> None:
    dataset = await stored(archive, image(frames=3))
    assert (await archive.http.get(url_of(dataset, "/frames/1,2"), headers={"Accept": OCTETS})).status_code == 406


async def test_every_reference_in_metadata_leads_to_its_value(archive: RunningQuery) -> None:
    item = Dataset()
    item.add_new(0x00091010, "OB", bytes(range(256)) * 20)
    item.add_new(0x00090010, "LO", "OSTEON TEST")
    dataset = ct_slice(RequestAttributesSequence=[Dataset(), item])
    dataset.add_new(0x00420011, "OB", b"%PDF" + bytes(5000))
    for syntax in (None, DeflatedExplicitVRLittleEndian):
        if syntax:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = short_uid()
        await archive.stow(dataset)
        (header,) = await archive.json(url_of(dataset, "/metadata"))
        nested = header["00400275"]["Value"][1]["00091010"]["BulkDataURI"]
        assert nested.endswith("/bulk/00400275/1/00091010")
        for address, value in (
            (nested, item[0x00091010].value),
            (header["00420011"]["BulkDataURI"], dataset[0x00420011].value),
            (header["7FE00010"]["BulkDataURI"], dataset.PixelData),
        ):
            response = await archive.http.get(address)
            assert response.status_code == 200, response.text
            assert response.content == value
            part = await archive.http.get(address, headers={"Range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, value[10:20])


async def test_small_values_have_an_address_too_when_their_vr_may_have_one(archive: RunningQuery) -> None:
    dataset = await stored(archive, ct_slice())
    response = await archive.http.get(url_of(dataset, "/bulk/00280010"))
    assert response.content == b"\x40\x00"


async def test_bulk_data_that_changes_hands_by_range_names_its_entity(archive: RunningQuery) -> None:
    dataset = await stored(archive, ct_slice())
    url = url_of(dataset, "/bulk/7FE00010")
    tag = (await archive.http.head(url)).headers["ETag"]
    same = await archive.http.get(url, headers={"Range": "bytes=0-3", "If-Range": tag})
    assert same.status_code == 206
    other = await archive.http.get(url, headers={"Range": "bytes=0-3", "If-Range": '"x"'})
    assert (other.status_code, other.content) == (200, dataset.PixelData)
    several = await archive.http.get(url, headers={"Range": "bytes=0-3,8-9"})
    assert several.status_code == 416
    assert "one byte range" in several.json()["detail"]


async def test_encapsulated_pixel_data_come_frame_by_frame_when_an_image_type_is_accepted(
    archive: RunningQuery,
) -> None:
    dataset = await stored(archive, rle(fragments=2))
    url = url_of(dataset, "/bulk/7FE00010")
    response = await archive.http.get(url, headers={"Accept": 'multipart/related; type="image/dicom-rle"'})
    assert [content for _, content in split_multipart(response)] == STREAMS
    raw = await archive.http.get(url)
    assert list(generate_frames(raw.content + b"\xfe\xff\xdd\xe0" + bytes(4), number_of_frames=4)) == STREAMS
    refused = await archive.http.get(url, headers={"Accept": "text/html"})
    assert refused.status_code == 406


async def test_a_data_set_that_inflates_without_end_is_refused(archive: RunningQuery) -> None:
    dataset = ct_slice()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData = bytes(1 << 20)
    await archive.stow(dataset)
    assert len(zlib.compress(part10(dataset))) < 100_000
    archive.change(limits=ApiLimits(inflated_bytes=1 << 19))
    assert (await archive.http.get(url_of(dataset, "/bulk/7FE00010"))).status_code == 413
