"""Encapsulated pixel data: where it lies, and which fragments make up which frame."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from osteon.dicom.errors import BadDataSet, TruncatedDataSet
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


def test_truncated_fragment_is_refused_with_its_offset() -> None:
    with pytest.raises(TruncatedDataSet, match="7FE00010 at byte 20: a fragment of 100 bytes"):
        HeaderReader().read(encapsulated(None, item(), item(b"ab", length=100)), JPEG)


@pytest.mark.parametrize("within", [explicit(0x00080060, "CS", b"CT"), item(undefined=True)])
def test_what_is_no_fragment_is_refused(within: bytes) -> None:
    with pytest.raises(BadDataSet, match="7FE00010 at byte 20: expected a fragment"):
        HeaderReader().read(encapsulated(None, item(), within), JPEG)


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
