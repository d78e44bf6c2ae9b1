"""What hostile and damaged data sets can not do: exhaust memory, hide a truncation, poison what is remembered."""

import json
import mmap
import tracemalloc
import zlib
from pathlib import Path

import pytest
from pydicom import dcmread

from osteon.dicom.errors import BadDataSet, TruncatedDataSet, UnknownTransferSyntax
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.part10 import read_part10
from osteon.errors import Invalid
from support.dicom.elements import DEFLATED, EXPLICIT, IMPLICIT, explicit, identified, implicit, item, read, sequence
from support.dicom.real_files import BUNDLED, dataset_bytes


def deflated(data: bytes, level: int = 6) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    "name", ["MR_small_bigendian.dcm", "image_dfl.dcm", "rtplan.dcm", "JPEG2000.dcm", "nested_priv_SQ.dcm"]
)
def test_file_cut_anywhere_is_an_error_or_a_header(name: str) -> None:
    file = (BUNDLED / name).read_bytes()
    meta = read_part10(file)
    dataset = file[meta.data_set_offset :]
    reader = HeaderReader()
    cuts = [*range(min(len(dataset), 3500)), *range(3500, len(dataset), 997)]
    for cut in cuts:
        try:
            header = reader.read(dataset[:cut], meta.transfer_syntax_uid)
        except BadDataSet as error:
            assert error.offset <= max(cut, 1 << 20)
        else:
            json.loads(header.json)


def test_cut_within_an_element_is_always_noticed() -> None:
    data = identified() + sequence(0x00400275, item(explicit(0x00400009, "SH", b"STEP")), undefined=True)
    boundaries = {0}
    position = 0
    for element in (8 + 10, 8 + 26, 8 + 8, 8 + 8, 8 + 2, 8 + 6, 8 + 8):
        position += element
        boundaries.add(position)
    for cut in set(range(len(data))) - boundaries:
        with pytest.raises(TruncatedDataSet):
            HeaderReader().read(data[:cut], EXPLICIT)


def test_length_of_four_gigabytes_takes_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(TruncatedDataSet, match="00420011 at byte 0: a value of 4294967294 bytes"):
        HeaderReader().read(explicit(0x00420011, "OB", b"ab", length=0xFFFFFFFE), EXPLICIT)
    header = HeaderReader().read(explicit(0x7FE00010, "OW", b"ab", length=0xFFFFFFFE), EXPLICIT)
    assert "a value of 4294967294 bytes is longer" in header.problems[0].reason
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_header_larger_than_its_limit_is_refused() -> None:
    data = sequence(0x00081140, *[item()] * 20_000)
    with pytest.raises(BadDataSet, match=r"more header than the limit"):
        HeaderReader(header_limit=100_000).read(data, EXPLICIT)


def test_bulk_data_does_not_count_towards_the_limit() -> None:
    data = explicit(0x7FE00010, "OW", bytes(500_000)) + explicit(0xFFFAFFFA, "SQ")
    found, _ = read(data, header_limit=100_000)
    assert set(found) == {"7FE00010", "FFFAFFFA"}


def test_endless_bulk_values_do_count() -> None:
    data = b"".join(explicit(0x00420011 + 2 * i, "OB", bytes(20)) for i in range(5000))
    with pytest.raises(BadDataSet, match="limit"):
        HeaderReader(bulk_limit=10, header_limit=100_000).read(data, EXPLICIT)


@pytest.mark.slow
def test_very_many_empty_items_are_refused_rather_than_kept() -> None:
    data = sequence(0x00081140, item() * 250_000)
    tracemalloc.start()
    with pytest.raises(BadDataSet, match="limit"):
        HeaderReader(header_limit=2 << 20).read(data, EXPLICIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_deflated_data_set_is_read() -> None:
    found, header = read(deflated(identified() + explicit(0x7FE00010, "OW", bytes(100))), DEFLATED)
    assert found["00100020"]["Value"] == ["P1"]
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
    assert (header.pixel_data, header.bulk) == (None, {})


def test_pixel_data_beyond_what_is_inflated_is_taken_on_trust_and_marked() -> None:
    found, header = read(
        deflated(identified() + explicit(0x7FE00010, "OW", bytes(500_000))), DEFLATED, header_limit=10_000
    )
    assert found["7FE00010"]["BulkDataURI"] == "bulk/7FE00010"
    assert [problem.path for problem in header.problems] == ["7FE00010"]


@pytest.mark.slow
def test_deflate_bomb_is_refused_in_bounded_memory() -> None:
    bomb = deflated(explicit(0x00091001, "UT", bytes(200 << 20)), 9)
    tracemalloc.start()
    with pytest.raises(BadDataSet, match="as far as it may be inflated"):
        HeaderReader(header_limit=8 << 20).read(bomb, DEFLATED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize("damage", [b"\xff\xff\xff\xff", b""])
def test_damaged_deflate_stream_is_refused(damage: bytes) -> None:
    with pytest.raises(BadDataSet):
        HeaderReader().read(damage, DEFLATED)


def test_unknown_transfer_syntax_is_refused() -> None:
    with pytest.raises(UnknownTransferSyntax, match=r"1\.2\.3\.4"):
        HeaderReader().read(identified(), "1.2.3.4")


def test_every_error_is_invalid() -> None:
    assert all(issubclass(error, Invalid) for error in (BadDataSet, TruncatedDataSet, UnknownTransferSyntax))


def test_mapped_file_is_read_like_bytes_and_can_be_closed(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(identified() + explicit(0x7FE00010, "OW", bytes(1000)))
    expected = HeaderReader().read(path.read_bytes(), EXPLICIT)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert HeaderReader().read(mapped, EXPLICIT) == expected
        with memoryview(mapped) as view, view[:-10] as cut:
            read_cut = HeaderReader().read(cut, EXPLICIT)
            assert read_cut.pixel_data
            assert read_cut.pixel_data.length == 990
            assert HeaderReader().read(view, EXPLICIT) == expected


def test_pixel_data_is_not_copied() -> None:
    data = identified() + explicit(0x7FE00010, "OW", bytes(20 << 20))
    for syntax, dataset in ((EXPLICIT, data), (IMPLICIT, implicit(0x7FE00010, bytes(20 << 20)))):
        tracemalloc.start()
        HeaderReader().read(memoryview(dataset), syntax)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20


def test_memory_of_elements_stays_within_its_limit() -> None:
    reader = HeaderReader(memo_limit=100_000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(5000):
        reader.read(explicit(0x00100020, "LO", b"%050d" % number), EXPLICIT)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 400_000


def test_same_bytes_in_another_character_set_are_not_taken_from_memory() -> None:
    reader = HeaderReader()
    name = explicit(0x00100010, "PN", b"\xc4\xe9")
    texts = [
        json.loads(reader.read(explicit(0x00080005, "CS", charset) + name, EXPLICIT).json)["00100010"]["Value"]
        for charset in (b"ISO_IR 100", b"ISO_IR 126", b"ISO_IR 100")
    ]
    assert texts == [[{"Alphabetic": "Äé"}], [{"Alphabetic": "Δι"}], [{"Alphabetic": "Äé"}]]


def test_problems_are_reported_each_time_the_element_comes() -> None:
    reader = HeaderReader()
    data = sequence(0x00081140, item(explicit(0x00200013, "IS", b"one ")))
    assert reader.read(data, EXPLICIT).problems == reader.read(data, EXPLICIT).problems != ()


def test_number_of_problems_is_bounded() -> None:
    data = sequence(0x00081140, *(item(explicit(0x00200013, "IS", b"x%d" % n)) for n in range(100, 999)))
    assert len(HeaderReader().read(data, EXPLICIT).problems) == 256


def test_reading_again_gives_the_same_header() -> None:
    reader = HeaderReader()
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "JPEG2000.dcm"):
        path = BUNDLED / name
        data, syntax = dataset_bytes(path), dcmread(path).file_meta.TransferSyntaxUID
        assert reader.read(data, syntax) == reader.read(memoryview(data), syntax)
