"""Pixel data that contradicts its attributes or its offset tables: what is there comes, the same at every route."""

import struct
from io import BytesIO
from itertools import accumulate
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space

from support.dicom.pixels.images import image
from support.imaging.in_process import InProcessImaging
from support.packs.sealed_packs import part10
from support.query.application import WEB, RunningQuery

OCTETS, NATIVE = "application/octet-stream", "1.2.840.10008.1.2.1"
AS_STORED = f"{OCTETS}; transfer-syntax=*"
JLS, JPEG, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
VALUES = (10, 60, 110, 160)
STREAMS = [imagecodecs.jpegls_encode(np.full((16, 16), value, "u1")) for value in VALUES]
STREAMS = [stream + b"\0" * (len(stream) % 2) for stream in STREAMS]
OFFSETS = [0, *accumulate(len(stream) + 8 for stream in STREAMS)][:-1]

pytestmark = pytest.mark.usefixtures("pixels")


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def grey(frames: int | None, **attributes: Any) -> Dataset:
    dataset = image(rows=16, columns=16, allocated=8, stored=8, **attributes)
    if frames is not None:
        dataset.NumberOfFrames = frames
    return dataset


def compressed(dataset: Dataset, streams: list[bytes], syntax: str = JLS, table: tuple[int, ...] = ()) -> bytes:
    """Return a file with bit streams as its fragments, and a Basic Offset Table."""
    offsets = item(struct.pack(f"<{len(table)}L", *table))
    dataset.PixelData = offsets + b"".join(item(stream + b"\0" * (len(stream) % 2)) for stream in streams)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return part10(dataset)


def instance(dataset: Dataset) -> str:
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"{WEB}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}"


async def store(archive: RunningQuery, file: bytes) -> int:
    """Store a file; return the Warning Reason of the answer, 0 without one."""
    answer = await archive.http.post(f"{WEB}/studies", content=file, headers={"Content-Type": "application/dicom"})
    (entry,) = answer.json()["00081199"]["Value"]
    reason: int = entry.get("00081196", {"Value": [0]})["Value"][0]
    assert answer.status_code == (202 if reason else 200)
    return reason


async def get(archive: RunningQuery, path: str, accept: str = OCTETS) -> httpx.Response:
    return await archive.http.get(path, headers={"Accept": accept})


async def orthanc(archive: RunningQuery, dataset: Dataset) -> str:
    query = {"SOPInstanceUID": dataset.SOPInstanceUID}
    found = await archive.http.post("/tools/find", json={"Level": "Instance", "Query": query})
    return f"/instances/{found.json()[0]}"


def png(response: httpx.Response) -> NDArray[Any]:
    assert response.status_code == 200, response.text
    picture: NDArray[Any] = imagecodecs.png_decode(response.content)
    return picture


@pytest.mark.parametrize(
    "table",
    [(), tuple(OFFSETS), (0, 0, 0, 0), (*OFFSETS[:3], OFFSETS[2]), (*OFFSETS[:3], 0), (0, 0, *OFFSETS[1:3]), (0, 7)],
    ids=["none", "right", "zeros", "last repeats the third", "last is 0", "shifted", "another length"],
)
@pytest.mark.parametrize("fragments", [1, 2])
async def test_frames_are_right_whatever_the_offset_table_says(
    archive: RunningQuery, table: tuple[int, ...], fragments: int
) -> None:
    dataset, streams = grey(4), STREAMS
    if fragments == 2:
        streams = [part for stream in STREAMS for part in (stream[:20], stream[20:])]
        table = (0, *(offset + 8 * n for n, offset in enumerate(OFFSETS) if n)) if table == tuple(OFFSETS) else table
    assert await store(archive, compressed(dataset, streams, table=table)) == 0
    url = instance(dataset)
    for number, value in enumerate(VALUES, 1):
        decoded = await get(archive, f"{url}/frames/{number}")
        assert (set(decoded.content), len(decoded.content)) == ({value}, 256)
        stored = await get(archive, f"{url}/frames/{number}", AS_STORED)
        assert stored.content == STREAMS[number - 1]
        assert "Warning" not in decoded.headers.keys() | stored.headers.keys()
    file = await get(archive, url, "application/dicom")
    assert dcmread(BytesIO(file.content)).pixel_array[:, 0, 0].tolist() == list(VALUES)


@pytest.mark.parametrize("cut", [8, 3, 8 + len(STREAMS[3]) // 2], ids=["no delimiter", "half of it", "in frame 4"])
async def test_a_file_that_ends_early_has_the_frames_before_its_end(archive: RunningQuery, cut: int) -> None:
    dataset = grey(4)
    assert await store(archive, compressed(dataset, STREAMS)[:-cut]) == 0xB007
    url, numbers = instance(dataset), (1, 2, 3, 4) if cut <= 8 else (1, 2, 3)
    for number in numbers:
        decoded = await get(archive, f"{url}/frames/{number}")
        assert set(decoded.content) == {VALUES[number - 1]}
        assert decoded.headers["Warning"].startswith('299 osteon "')
        stored = await get(archive, f"{url}/frames/{number}", AS_STORED)
        assert stored.content == STREAMS[number - 1]
    picture = await get(archive, f"{url}/rendered", "image/png")
    assert png(picture).shape == (16, 16)
    assert "299" in picture.headers["Warning"]
    if cut > 8:
        rest = await get(archive, f"{url}/frames/4", AS_STORED)
        assert rest.content == STREAMS[3][: 8 - cut]
        assert (await get(archive, f"{url}/frames/4")).status_code == 406
        path = await orthanc(archive, dataset)
        for name in ("preview", "image-uint8", "image-uint16", "image-int16", "numpy", "matlab", "rendered"):
            assert (await archive.http.get(f"{path}/frames/3/{name}")).status_code == 415, name
            assert (await archive.http.get(f"{path}/frames/2/{name}")).status_code == 200, name
        assert (await archive.http.get(f"{path}/frames/3/raw")).content == rest.content
        assert (await archive.http.get(f"{path}/numpy")).status_code == 415


async def routes_of_frame(archive: RunningQuery, dataset: Dataset, number: int) -> list[tuple[str, int]]:
    """Return the status of every route of a frame, counted from 1."""
    url, path = instance(dataset), await orthanc(archive, dataset)
    wado = f"/wado?requestType=WADO&studyUID={dataset.StudyInstanceUID}&seriesUID={dataset.SeriesInstanceUID}"
    wanted = [(f"{url}/frames/{number}", OCTETS), (f"{url}/frames/{number}", AS_STORED)]
    wanted += [(f"{url}/frames/{number}/{name}", "image/png") for name in ("rendered", "thumbnail")]
    names = ("preview", "rendered", "image-uint8", "image-uint16", "image-int16", "numpy", "matlab", "raw", "raw.gz")
    wanted += [(f"{path}/frames/{number - 1}/{name}", "*/*") for name in names]
    wanted += [(f"{wado}&objectUID={dataset.SOPInstanceUID}&contentType=image/png&frameNumber={number}", "image/png")]
    return [(where, (await get(archive, where, accept)).status_code) for where, accept in wanted]


@pytest.mark.parametrize(
    ("said", "there"), [(6, 4), (3, 3), (None, 1), ("4.5", 1)], ids=["more", "fewer", "none", "no number"]
)
@pytest.mark.parametrize("encapsulated", [True, False])
async def test_a_wrong_number_of_frames_costs_no_frame_that_is_there(
    archive: RunningQuery, said: int | str | None, there: int, encapsulated: bool
) -> None:
    dataset = grey(None)
    if isinstance(said, str):
        dataset.add_new(0x00280008, "LO", said)
    elif said:
        dataset.NumberOfFrames = said
    dataset.PixelData = b"".join(bytes([value]) * 256 for value in VALUES)
    file = compressed(dataset, STREAMS) if encapsulated else part10(dataset)
    assert await store(archive, file) == 0xB007
    assert {status for _, status in await routes_of_frame(archive, dataset, there)} == {200}
    beyond = await routes_of_frame(archive, dataset, there + 1)
    assert [(where, status) for where, status in beyond if status != 404] == []
    listed = await archive.json(await orthanc(archive, dataset) + "/frames")
    assert listed == list(range(there))
    response = await get(archive, f"{instance(dataset)}/frames/{there}")
    assert set(response.content) == {VALUES[there - 1]}
    assert "Number of Frames (0028,0008)" in response.headers["Warning"]


@pytest.mark.parametrize("missing", [1, 20, 128, 255])
async def test_what_native_pixel_data_lacks_is_zero_in_frames_and_pictures(archive: RunningQuery, missing: int) -> None:
    dataset = image(rows=16, columns=16, allocated=8, stored=8, frames=2)
    whole = dataset.PixelData
    dataset.PixelData = whole[:-missing]
    await store(archive, part10(dataset)[: -(missing % 2) or None])
    url, path = instance(dataset), await orthanc(archive, dataset)
    expected = whole[256 : 512 - missing] + bytes(missing)
    complete = await get(archive, f"{url}/frames/1")
    assert (complete.status_code, complete.content) == (200, whole[:256])
    if missing == 255:  # one byte may be padding
        assert (await get(archive, f"{url}/frames/2")).status_code == 404
        return
    alone = await get(archive, f"{url}/frames/2")
    assert alone.content == expected
    assert "pixel data has" in alone.headers["Warning"]
    parts = await get(archive, f"{url}/frames/2,1", f'multipart/related; type="{OCTETS}"')
    assert expected in parts.content
    assert int(parts.headers["Content-Length"]) == len(parts.content)
    values = await archive.http.get(f"{path}/frames/1/numpy?rescale=0")
    assert values.status_code == 200, values.text
    assert np.load(BytesIO(values.content)).astype("u1").tobytes() == expected
    assert "Warning" in values.headers
    assert (await archive.http.get(f"{path}/frames/1/raw")).content == expected


@pytest.mark.parametrize("more", [2, 300])
async def test_what_native_pixel_data_has_too_much_is_left_out(archive: RunningQuery, more: int) -> None:
    dataset = grey(None)
    whole = dataset.PixelData
    dataset.PixelData += bytes(more)
    assert await store(archive, part10(dataset)) == 0xB007
    frame = await get(archive, f"{instance(dataset)}/frames/1")
    assert frame.content == whole
    assert f"{256 + more} bytes, not 256" in frame.headers["Warning"]
    assert png(await get(archive, instance(dataset) + "/rendered", "image/png")).shape == (16, 16)


async def test_frames_of_odd_length_follow_each_other_and_the_padding_is_none(archive: RunningQuery) -> None:
    dataset = image(rows=3, columns=3, allocated=8, stored=8, frames=3)
    assert len(dataset.PixelData) == 28
    dataset.NumberOfFrames = 4
    assert await store(archive, part10(dataset)) == 0xB007
    third = await get(archive, f"{instance(dataset)}/frames/3")
    assert third.content == dataset.PixelData[18:27]
    assert (await get(archive, f"{instance(dataset)}/frames/4")).status_code == 404


async def test_colours_that_are_called_subsampled_and_are_not_come_whole(archive: RunningQuery) -> None:
    dataset = image(rows=4, columns=4, samples=3, allocated=8, stored=8, frames=2, photometric="YBR_FULL_422")
    assert await store(archive, part10(dataset)) == 0
    second = await get(archive, f"{instance(dataset)}/frames/2")
    full = np.frombuffer(dataset.PixelData[48:], np.uint8).reshape(4, 4, 3)
    shown = np.frombuffer(second.content, np.uint8).reshape(4, 4, 3).astype(int)
    assert np.abs(shown - convert_color_space(full, "YBR_FULL", "RGB")).max() <= 1


def run_lengths(*segments: bytes, count: int | None = None) -> bytes:
    offsets = list(accumulate([64, *map(len, segments)]))[: len(segments)]
    head = [len(segments) if count is None else count, *offsets]
    return struct.pack("<16L", *head, *(0,) * (16 - len(head))) + b"".join(segments)


ROW = b"".join(bytes([0xF1, value]) for value in range(16))  # 16 runs of 16 bytes


@pytest.mark.parametrize(
    ("stream", "lacking"),
    [
        (run_lengths(ROW + b"\x00\x07"), 0),
        (run_lengths(ROW + b"\xf1\x07\x01"), 0),
        (run_lengths(ROW, b"\0\0"), 0),
        (run_lengths(ROW[:-4]), 32),
        (run_lengths(ROW[:-2] + b"\x0f\x0f\x0f"), 14),
    ],
    ids=["one more", "a run more", "a segment more", "two runs fewer", "cut in literal bytes"],
)
async def test_segments_of_run_lengths_are_cut_or_filled(archive: RunningQuery, stream: bytes, lacking: int) -> None:
    dataset = grey(None)
    await store(archive, compressed(dataset, [stream + b"\0" * (len(stream) % 2)], RLE))
    url = instance(dataset)
    expected = b"".join(bytes([value]) * 16 for value in range(16))
    frame = await get(archive, f"{url}/frames/1")
    assert frame.content == (expected[: 256 - lacking] + bytes(lacking))
    assert "RLE" in frame.headers["Warning"]
    file = await get(archive, url, f"application/dicom; transfer-syntax={NATIVE}")
    assert file.status_code == (406 if lacking else 200)


async def test_segments_without_anything_in_them_are_no_picture(archive: RunningQuery) -> None:
    dataset = grey(None)
    await store(archive, compressed(dataset, [run_lengths(b"", b"")], RLE))
    assert (await get(archive, f"{instance(dataset)}/frames/1")).status_code == 406
    assert (await archive.http.get(await orthanc(archive, dataset) + "/preview")).status_code == 415


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (8, 16), (16, 8), (30, 10)], ids=str)
@pytest.mark.parametrize("syntax", [JPEG, JLS])
async def test_a_bit_stream_of_another_size_is_cut_or_filled_to_rows_and_columns(
    archive: RunningQuery, size: tuple[int, int], syntax: str
) -> None:
    dataset = grey(None)
    values = np.full(size, 200, "u1")
    encode = imagecodecs.jpeg8_encode if syntax == JPEG else imagecodecs.jpegls_encode
    await store(archive, compressed(dataset, [encode(values)], syntax))
    frame = await get(archive, f"{instance(dataset)}/frames/1")
    expected = np.zeros((16, 16), "u1")
    expected[: size[0], : size[1]] = 200
    assert np.abs(np.frombuffer(frame.content, "u1").reshape(16, 16).astype(int) - expected).max() <= 2
    assert f"{size[0]} x {size[1]} pixels, not 16 x 16" in frame.headers["Warning"]
    assert png(await get(archive, instance(dataset) + "/rendered", "image/png")).shape == (16, 16)
    file = await get(archive, instance(dataset), f"application/dicom; transfer-syntax={NATIVE}")
    assert file.status_code == 406


async def test_fragments_that_cannot_be_assigned_are_acceptable_only_as_a_file(archive: RunningQuery) -> None:
    dataset = grey(2)
    assert await store(archive, compressed(dataset, [b"ab", b"cd", b"ef"])) == 0xB007
    found = await routes_of_frame(archive, dataset, 1)
    assert {status for where, status in found if "/dicom-web/" in where or "/wado" in where} == {406}
    assert {status for where, status in found if where.startswith("/instances/")} == {415}
    assert (await get(archive, instance(dataset), "application/dicom; transfer-syntax=*")).status_code == 200


async def test_a_frame_that_is_next_to_empty_is_not_made_up(archive: RunningQuery) -> None:
    dataset = grey(None)
    dataset.Rows = dataset.Columns = 65_535
    await store(archive, part10(dataset))
    assert (await get(archive, f"{instance(dataset)}/frames/1")).status_code == 406


async def test_good_pixel_data_is_stored_without_a_warning(archive: RunningQuery, pixels: InProcessImaging) -> None:
    for dataset in (image(), image(frames=3, rows=3, columns=3, allocated=8, stored=8), image(samples=3)):
        assert await store(archive, part10(dataset)) == 0
    dataset = grey(2)
    dataset.PixelData = encapsulate(STREAMS[:2])
    assert await store(archive, compressed(dataset, STREAMS[:2])) == 0
