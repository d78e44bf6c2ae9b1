"""Encapsulated pixel data: where it lies, and which fragments make up which frame."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from osteon.dicom.header.model import PixelData
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.uids import TRANSFER_SYNTAXES
from support.dicom.elements import EXPLICIT, JPEG, RLE, SEQUENCE_END, UNDEFINED, explicit, item, read, sequence
from support.dicom.real_files import BUNDLED, dataset_bytes, storable

MPEG2 = "1.2.840.10008.1.2.4.100"
SOI = b"\xff\xd8"


def encapsulated(frames: int | None, *items: bytes, delimiter: bytes = SEQUENCE_END) -> bytes:
    count = b"" if frames is None else explicit(0x00280008, "IS", b"%-4d" % frames)
    return count + explicit(0x7FE00010, "OB", b"".join(items) + delimiter, length=UNDEFINED)


def pixel_data(data: bytes, syntax: str = JPEG) -> PixelData:
    found = read(data, syntax)[1].pixel_data
    assert found
    return found


def contents(data: bytes, syntax: str = JPEG) -> list[bytes]:
    """Return the bit stream of each frame, item heads left out."""
    frames = []
    for offset, length in pixel_data(data, syntax).frames:
        run, stream, position = data[offset : offset + length], b"", 0
        while position < length:
            assert run[position : position + 4] == b"\xfe\xff\x00\xe0"
            size = int.from_bytes(run[position + 4 : position + 8], "little")
            stream += run[position + 8 : position + 8 + size]
            position += 8 + size
        frames.append(stream)
    return frames


def offsets(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}L", *values)


def test_native_pixel_data_is_located() -> None:
    data = explicit(0x7FE00010, "OW", b"abcd")
    found = pixel_data(data, EXPLICIT)
    assert found == PixelData("7FE00010", 12, 4, encapsulated=False)
    assert data[found.offset :] == b"abcd"


@pytest.mark.parametrize(("tag", "vr"), [(0x7FE00008, "OF"), (0x7FE00009, "OD")])
def test_float_pixel_data_is_located(tag: int, vr: str) -> None:
    assert pixel_data(explicit(tag, vr, bytes(8)), EXPLICIT).tag == f"{tag:08X}"


def test_encapsulated_value_ends_before_its_delimiter() -> None:
    data = encapsulated(None, item(), item(b"abcd"))
    found = pixel_data(data)
    assert (found.encapsulated, found.offset, found.length) == (True, 12, 8 + 12)
    header = read(data, JPEG)[1]
    assert header.bulk == {"7FE00010": (found.offset, found.length)}


@pytest.mark.parametrize(
    ("frames", "items", "expected"),
    [
        (None, [item(), item(b"ab"), item(b"cd")], [b"abcd"]),
        (1, [item(), item(b"ab"), item(b"cd")], [b"abcd"]),
        (2, [item(), item(b"ab"), item(b"cd")], [b"ab", b"cd"]),
        (2, [item(offsets(0, 10)), item(b"ab"), item(b"cd")], [b"ab", b"cd"]),
        (2, [item(offsets(0, 20)), item(b"ab"), item(b"cd"), item(b"ef")], [b"abcd", b"ef"]),
        (2, [item(offsets(0, 10)), item(b"ab"), item(b"cd"), item(b"ef")], [b"ab", b"cdef"]),
        (2, [item(), item(SOI + b"a"), item(b"b"), item(SOI + b"c")], [SOI + b"ab", SOI + b"c"]),
    ],
    ids=["no count", "one frame", "one fragment each", "offset table", "2+1 by table", "1+2 by table", "by bit stream"],
)
def test_fragments_are_assigned_to_frames(frames: int | None, items: list[bytes], expected: list[bytes]) -> None:
    data = encapsulated(frames, *items)
    assert contents(data) == expected
    assert read(data, JPEG)[1].problems == ()


@pytest.mark.parametrize(
    "table", [offsets(0, 11), offsets(10, 0), offsets(0, 0), offsets(4, 10), offsets(0), offsets(0, 10, 20)]
)
def test_offset_table_that_contradicts_the_fragments_is_marked_and_passed_over(table: bytes) -> None:
    data = encapsulated(2, item(table), item(b"ab"), item(b"cd"))
    assert contents(data) == [b"ab", b"cd"]
    assert "offset table" in read(data, JPEG)[1].problems[0].reason


@pytest.mark.parametrize("limit", [4, 4096])
def test_extended_offset_table_decides(limit: int) -> None:
    frames = [b"abcd", b"ef", b"gh"]
    value, table, lengths = encapsulate_extended(frames)
    head = explicit(0x00280008, "IS", b"3 ") + explicit(0x7FE00001, "OV", table) + explicit(0x7FE00002, "OV", lengths)
    data = head + explicit(0x7FE00010, "OB", value + SEQUENCE_END, length=UNDEFINED)
    header = HeaderReader(bulk_limit=limit).read(data, JPEG)
    assert header.pixel_data
    assert [data[offset + 8 : offset + length] for offset, length in header.pixel_data.frames] == frames
    assert header.problems == ()


RLE_FRAME = struct.pack("<16L", 1, 64, *(0,) * 14) + b"\x05abcdef"
J2K = "1.2.840.10008.1.2.4.90"
SOC = b"\xff\x4f\xff\x51"
ONES = [SOI + bytes([value]) * 4 for value in (1, 2, 3, 4)]
HALVES = [part for stream in ONES for part in (stream[:4], stream[4:])]


@pytest.mark.parametrize(
    "table",
    [
        (),
        (0, 0, 0, 0),
        (0, 14, 28, 28),
        (0, 14, 28, 0),
        (0, 0, 14, 28),
        (0, 14, 28, 42),
        (0, 14, 28, 999),
        (14, 0),
        (7,),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["basic", "extended"])
def test_as_many_fragments_as_frames_are_a_fragment_a_frame_whatever_a_table_says(
    table: tuple[int, ...], kind: str
) -> None:
    items = [item(offsets(*table) if kind == "basic" else b""), *map(item, ONES)]
    head = b""
    if kind == "extended" and table:
        head = explicit(0x7FE00001, "OV", struct.pack(f"<{len(table)}Q", *table))
    data = explicit(0x00280008, "IS", b"4 ") + head
    data += explicit(0x7FE00010, "OB", b"".join(items) + SEQUENCE_END, length=UNDEFINED)
    assert contents(data) == ONES
    assert pixel_data(data).problem == ""
    assert bool(read(data, JPEG)[1].problems) == (table not in ((), (0, 14, 28, 42)))


@pytest.mark.parametrize(
    ("frames", "items", "table", "expected"),
    [
        (4, HALVES, (0, 26, 52, 78), ONES),
        (4, HALVES, (0, 12, 26, 38), ONES),  # heads of fragments all, but not of bit streams
        (4, HALVES, (0, 0, 26, 52), ONES),
        (3, ONES, (), ONES[:3]),
        (3, ONES, (0, 14, 28), [ONES[0], ONES[1], ONES[2] + ONES[3]]),
        (1, ONES, (), ONES[:1]),
        (5, ONES, (), ONES),
        (5, ONES, (0, 14, 28, 42, 56), ONES),
        (5, HALVES, (), ONES),
        (3, [SOI + b"aa", b"bb", SOI + b"cc", b"dd", b"ee"], (0, 22, 44), [SOI + b"aabb", SOI + b"ccdd", b"ee"]),
        (3, [SOI + b"aa", b"bb", SOI + b"cc", b"dd", b"ee"], (), []),
        (0, ONES[:1], (), ONES[:1]),
    ],
)
def test_bit_streams_and_tables_give_the_frames_that_are_there(
    frames: int, items: list[bytes], table: tuple[int, ...], expected: list[bytes]
) -> None:
    data = encapsulated(frames, item(offsets(*table)), *map(item, items))
    assert contents(data) == expected
    assert bool(pixel_data(data).problem) == (len(expected) != max(1, frames) or (frames in (1, 3) and not table))


def test_bytes_within_jpeg_2000_that_look_like_its_beginning_begin_no_frame() -> None:
    data = encapsulated(2, item(), item(SOC + b"ab"), item(b"\xff\x4fcd"), item(SOC + b"ef"))
    assert contents(data, J2K) == [SOC + b"ab\xff\x4fcd", SOC + b"ef"]


def test_frames_of_run_lengths_begin_with_their_header() -> None:
    data = encapsulated(2, item(), item(RLE_FRAME + b"a"), item(b"bb"), item(RLE_FRAME + b"b"))
    assert contents(data, RLE) == [RLE_FRAME + b"abb", RLE_FRAME + b"b"]


def test_of_a_table_that_goes_on_behind_the_end_the_first_part_is_believed() -> None:
    items = [item(offsets(0, 20, 40)), item(b"ab"), item(b"cd"), item(b"ef"), item(b"gh", length=50)]
    data = encapsulated(3, *items, delimiter=b"")
    assert contents(data) == [b"abcd", b"efgh"]
    assert "2 frames, Number of Frames (0028,0008) is 3" in pixel_data(data).problem


@pytest.mark.parametrize("syntax", [RLE, JPEG])
def test_fragments_that_tell_nothing_give_no_frames_and_are_marked(syntax: str) -> None:
    _, header = read(encapsulated(2, item(), item(b"ab"), item(b"cd"), item(b"ef")), syntax)
    assert header.pixel_data
    assert header.pixel_data.frames == ()
    assert "3 fragments cannot be assigned to 2 frames" in header.problems[0].reason


def test_frames_of_run_lengths_are_not_told_by_what_looks_like_a_bit_stream() -> None:
    data = encapsulated(2, item(), item(SOI + b"a"), item(b"b"), item(SOI + b"c"))
    assert pixel_data(data, RLE).frames == ()


def test_video_is_one_bit_stream_whatever_the_number_of_frames() -> None:
    assert contents(encapsulated(2, item(), item(b"ab"), item(b"cd")), MPEG2) == [b"abcd"]


def test_pixel_data_without_fragments_is_marked() -> None:
    _, header = read(encapsulated(1, item()), JPEG)
    assert "no fragments" in header.problems[0].reason


def test_missing_delimiter_behind_whole_fragments_is_only_marked() -> None:
    data = encapsulated(1, item(), item(b"ab"), delimiter=b"")
    assert contents(data) == [b"ab"]
    assert "delimiter" in read(data, JPEG)[1].problems[0].reason


def test_of_a_fragment_that_is_cut_off_the_rest_is_a_frame() -> None:
    data = encapsulated(2, item(), item(b"ab"), item(b"cd", length=100), delimiter=b"")
    found = pixel_data(data)
    assert contents(data) == [b"ab", b"cd"]
    assert found.problem == "the data set ends 98 bytes before its last fragment does"
    assert read(data, JPEG)[1].problems[0].reason == found.problem


@pytest.mark.parametrize("within", [explicit(0x00080060, "CS", b"CT"), item(undefined=True)])
def test_what_is_no_fragment_ends_them_and_is_marked(within: bytes) -> None:
    data = encapsulated(1, item(), item(b"ab"), within)
    assert contents(data) == [b"ab"]
    assert "expected a fragment or the delimiter" in pixel_data(data).problem
    assert pixel_data(encapsulated(None, item(), within)).frames == ()


def test_padding_behind_a_last_fragment_of_odd_length_is_none_of_it() -> None:
    data = encapsulated(2, item(), item(b"ab"), item(b"cde"), delimiter=b"\0" + SEQUENCE_END)
    assert contents(data) == [b"ab", b"cde"]
    assert read(data + explicit(0x7FE10010, "LO", b"Creator "), JPEG)[0]["7FE10010"]["Value"] == ["Creator"]
    assert pixel_data(data).problem == ""


def test_elements_behind_fragments_without_a_delimiter_are_read() -> None:
    data = encapsulated(1, item(), item(b"ab"), delimiter=explicit(0x7FE10010, "LO", b"Creator "))
    found, header = read(data, JPEG)
    assert contents(data) == [b"ab"]
    assert found["7FE10010"]["Value"] == ["Creator"]
    assert "expected a fragment or the delimiter" in header.problems[0].reason


def test_pixel_data_of_an_icon_is_bulk_but_not_the_instance_s() -> None:
    icon = sequence(0x00880200, item(encapsulated(None, item(), item(b"ab"))))
    found, header = read(icon, JPEG)
    assert header.pixel_data is None
    assert found["00880200"]["Value"][0]["7FE00010"]["BulkDataURI"] == "bulk/00880200/0/7FE00010"
    offset, length = header.bulk["00880200/0/7FE00010"]
    assert icon[offset : offset + length] == item() + item(b"ab")


@pytest.mark.parametrize("has_table", [False, True])
@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.binary(min_size=2, max_size=40), min_size=1, max_size=6))
def test_frames_of_what_pydicom_encapsulates_are_found(has_table: bool, frames: list[bytes]) -> None:
    padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    value = encapsulate(frames, has_bot=has_table)
    data = explicit(0x00280008, "IS", b"%-4d" % len(frames))
    data += explicit(0x7FE00010, "OB", value + SEQUENCE_END, length=UNDEFINED)
    assert contents(data) == padded


def test_frames_of_every_bundled_file_are_what_pydicom_finds() -> None:
    count = 0
    for path in storable(BUNDLED):
        ds = dcmread(path)
        syntax = TRANSFER_SYNTAXES[ds.file_meta.TransferSyntaxUID]
        if "PixelData" in ds and syntax.encapsulated and not syntax.video:
            expected = list(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1)))
            assert contents(dataset_bytes(path), syntax.uid) == expected, path.name
            count += 1
    assert count > 20
