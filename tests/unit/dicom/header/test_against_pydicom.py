"""The header reader against pydicom on every real file, element by element.

Differences are allowed where `DIFFERENCES` names them, and nowhere else.
"""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom import Dataset, dcmread

from osteon.dicom.errors import BadPart10, TruncatedDataSet
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.json_values import without_texts
from osteon.dicom.part10 import read_part10
from support.dicom.real_files import BUNDLED, real_folder
from support.fuzz.case_counts import thinned

Element = dict[str, Any]

TRUNCATED = {"rtplan_truncated.dcm", "DICOMDIR-nooffset"}
TRUNCATED_PIXELS = {"MR_truncated.dcm"}
"""pydicom gives what it has of these; an archive must know that they are not whole."""

NO_TRANSFER_SYNTAX = {"meta_missing_tsyntax.dcm"}

PART10 = sorted(path for path in BUNDLED.rglob("*") if path.is_file() and path.read_bytes()[128:132] == b"DICM")
WHOLE = [path for path in PART10 if path.name not in TRUNCATED | TRUNCATED_PIXELS | NO_TRANSFER_SYNTAX]


def is_left_out(tag: str) -> bool:
    """Group lengths and trailing padding are no part of the DICOM JSON Model (PS3.18 F.2.2, PS3.10 7.2)."""
    return tag.endswith("0000") or tag == "FFFCFFFC"


def is_utf8(tag: str, ours: Element, theirs: Element) -> bool:
    """The JSON is UTF-8, so it says ISO_IR 192 (PS3.18 F.2)."""
    return tag == "00080005" and ours == {"vr": "CS", "Value": ["ISO_IR 192"]}


def is_null(tag: str, ours: Element, theirs: Element) -> bool:
    """An empty value among others is null, not an empty string (PS3.18 F.2.5)."""
    return [value or None for value in theirs.get("Value", [])] == ours.get("Value")


def is_padding(tag: str, ours: Element, theirs: Element) -> bool:
    """Spaces around each value of a code string are padding, not only those behind the last (PS3.5 6.2)."""
    values = theirs.get("Value", [])
    return ours["vr"] == "CS" and [value.strip() or None for value in values] == ours.get("Value")


def is_escape(tag: str, ours: Element, theirs: Element) -> bool:
    """pydicom leaves the escape sequence of GB 2312 in the text."""
    return ours == json.loads(json.dumps(theirs).replace("\\u001b$)A", ""))


def is_text(tag: str, ours: Element, theirs: Element) -> bool:
    """pydicom raises on text in place of a number; it is kept as a string."""
    return theirs == {"raises": "ValueError"} and any(isinstance(value, str) for value in ours["Value"])


def is_empty_sequence(tag: str, ours: Element, theirs: Element) -> bool:
    """A sequence without items has no value (PS3.18 F.2.5)."""
    return ours == {"vr": "SQ"} and theirs == {"vr": "SQ", "Value": []}


DIFFERENCES = (is_utf8, is_null, is_padding, is_escape, is_text, is_empty_sequence)


def as_pydicom_has_it(dataset: Dataset) -> dict[str, Element]:
    elements = {}
    for tag in list(dataset.keys()):
        try:
            elements[f"{tag:08X}"] = json.loads(json.dumps(dataset[tag].to_json_dict(None, 0)))
        except ValueError:
            elements[f"{tag:08X}"] = {"raises": "ValueError"}
    return elements


def assert_same(ours: dict[str, Element], theirs: dict[str, Element], path: str = "") -> None:
    expected = {tag for tag in theirs if not is_left_out(tag)}
    assert set(ours) == expected, f"{path}: {sorted(set(ours) ^ expected)}"
    assert list(ours) == sorted(ours), f"{path}: out of order"
    for tag, element in ours.items():
        other = theirs[tag]
        if element["vr"] == "SQ" == other.get("vr") and element.get("Value") and other.get("Value"):
            assert len(element["Value"]) == len(other["Value"]), f"{path}{tag}"
            for index, (item, other_item) in enumerate(zip(element["Value"], other["Value"], strict=True)):
                assert_same(item, other_item, f"{path}{tag}[{index}].")
        elif "BulkDataURI" in element:
            assert element["vr"] == other["vr"], f"{path}{tag}"
        elif element != other:
            assert any(allowed(tag, element, other) for allowed in DIFFERENCES), f"{path}{tag}: {element} {other}"


def compare(path: Path, reader: HeaderReader) -> None:
    file = path.read_bytes()
    meta = read_part10(file)
    header = reader.read(memoryview(file)[meta.data_set_offset :], meta.transfer_syntax_uid)
    logging.disable(logging.CRITICAL)  # pydicom logs each binary value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_same(orjson.loads(without_texts(header.json)), as_pydicom_has_it(dcmread(path)))
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def reader() -> HeaderReader:
    return HeaderReader(bulk_limit=1 << 20)


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_header_of_a_bundled_file_is_what_pydicom_reads(path: Path, reader: HeaderReader) -> None:
    compare(path, reader)


@pytest.mark.parametrize("name", sorted(TRUNCATED))
def test_truncated_file_is_refused_with_tag_and_offset(name: str, reader: HeaderReader) -> None:
    (path,) = (path for path in PART10 if path.name == name)
    file = path.read_bytes()
    meta = read_part10(file)
    with pytest.raises(TruncatedDataSet, match=r"^[0-9A-F\[\].]+ at byte \d+: .* is longer than the data set"):
        reader.read(file[meta.data_set_offset :], meta.transfer_syntax_uid)


@pytest.mark.parametrize("name", sorted(TRUNCATED_PIXELS))
def test_pixel_data_that_is_cut_is_marked_and_the_header_is_what_pydicom_reads(name: str, reader: HeaderReader) -> None:
    (path,) = (path for path in PART10 if path.name == name)
    compare(path, reader)
    file = path.read_bytes()
    meta = read_part10(file)
    header = reader.read(file[meta.data_set_offset :], meta.transfer_syntax_uid)
    assert header.pixel_data
    assert header.pixel_data.length == len(dcmread(path).PixelData) == 8130
    assert header.problems[-1].path == "7FE00010"
    assert "a value of 8192 bytes is longer than the data set, in which 8130 are left" in header.problems[-1].reason


@pytest.mark.parametrize("name", sorted(NO_TRANSFER_SYNTAX))
def test_file_without_transfer_syntax_is_refused(name: str) -> None:
    (path,) = (path for path in PART10 if path.name == name)
    with pytest.raises(BadPart10, match="0002,0010"):
        read_part10(path.read_bytes())


def test_header_of_a_charset_file_is_what_pydicom_reads(reader: HeaderReader) -> None:
    for path in sorted(real_folder("charset").glob("*.dcm")):
        compare(path, reader)


@pytest.mark.slow
def test_header_of_every_real_file_is_what_pydicom_reads(reader: HeaderReader) -> None:
    files = [path for path in sorted(real_folder().rglob("*")) if path.is_file()]
    dicom = [path for path in files if path.read_bytes()[128:132] == b"DICM"]
    assert dicom
    for path in thinned(dicom):
        compare(path, reader)


@pytest.mark.slow
def test_header_is_the_same_with_and_without_memory(reader: HeaderReader) -> None:
    for path in sorted(real_folder("mr").rglob("*"))[:200]:
        if path.is_file() and (file := path.read_bytes())[128:132] == b"DICM":
            meta = read_part10(file)
            dataset = file[meta.data_set_offset :]
            assert reader.read(dataset, meta.transfer_syntax_uid) == HeaderReader(bulk_limit=1 << 20).read(
                dataset, meta.transfer_syntax_uid
            )
