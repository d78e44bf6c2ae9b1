"""Data sets written by hand, read back by pydicom."""

import io
import zlib

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.errors import UnknownTransferSyntax
from osteon.dicom.text_encoder import UNICODE, CharacterNotEncodable, text_encoder_for

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
SYNTAXES = [IMPLICIT, EXPLICIT, BIG, DEFLATED]

ALL_VRS = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    "00080020": {"vr": "DA", "Value": ["20240101"]},
    "00080030": {"vr": "TM", "Value": ["101500.5"]},
    "00080054": {"vr": "AE", "Value": ["OSTEON"]},
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "0008002A": {"vr": "DT", "Value": ["20240101101500"]},
    "00080090": {"vr": "PN"},
    "00080119": {"vr": "UC", "Value": ["a long code"]},
    "00081190": {"vr": "UR", "Value": ["http://localhost/x"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "00101010": {"vr": "AS", "Value": ["042Y"]},
    "00181041": {"vr": "DS", "Value": [1.5]},
    "00186020": {"vr": "SL", "Value": [-5]},
    "00189073": {"vr": "FD", "Value": [0.25]},
    "00200013": {"vr": "IS", "Value": [7]},
    "00200037": {"vr": "DS", "Value": [1, 0, 0, 0, 0.70710678118654752, -1e-20]},
    "00280009": {"vr": "AT", "Value": ["00181063"]},
    "00280010": {"vr": "US", "Value": [512]},
    "00189219": {"vr": "SS", "Value": [-1000]},
    "00281201": {"vr": "OW", "InlineBinary": "AQIDBA=="},
    "00400275": {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["SPS1"]}, "00401001": {"vr": "SH"}},
            {"00400008": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["C"]}}, {}]}},
        ],
    },
    "00404041": {"vr": "CS", "Value": ["ONLINE", "NEARLINE"]},
    "00420011": {"vr": "OB", "InlineBinary": "AQID"},
    "00720082": {"vr": "SV", "Value": [-(2**40)]},
}
del ALL_VRS["00080005"]
ALL_VRS = {tag: ALL_VRS[tag] for tag in sorted(ALL_VRS)}


def _read(data: bytes, syntax: str) -> Dataset:
    if syntax == DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)
    dataset = read_dataset(io.BytesIO(data), syntax == IMPLICIT, syntax != BIG)
    dataset.decode()
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_vr_reads_back_as_pydicom_understands_the_same_json(syntax):
    data = DatasetEncoder(syntax).encode(ALL_VRS)
    assert len(data) % 2 == 0
    read, expected = _read(data, syntax), Dataset.from_json(ALL_VRS)
    assert list(read.keys()) == list(expected.keys())
    for element in expected:
        got = read[element.tag]
        if element.VR == "OW" and syntax == BIG:
            assert got.value == b"\x02\x01\x04\x03"
        elif element.VR == "OB":
            assert got.value == b"\x01\x02\x03\x00"
        elif element.VR == "DS":
            assert got.value == pytest.approx(element.value)
        else:
            assert got.value == element.value, element


def test_a_decimal_string_has_at_most_16_characters():
    data = DatasetEncoder(EXPLICIT).encode({"00181041": {"vr": "DS", "Value": [-1.2345678901234567e-100]}})
    assert len(data) - 8 == 16


def test_a_text_too_long_for_its_vr_is_written_as_un():
    data = DatasetEncoder(EXPLICIT).encode({"00204000": {"vr": "LT", "Value": ["x" * 70_000]}})
    assert data[4:6] == b"UN"
    assert len(data) == 12 + 70_000


@pytest.mark.parametrize(
    "element",
    [{"vr": "US", "Value": ["abc"]}, {"vr": "US", "Value": [70_000]}, {"vr": "US", "Value": [None]}],
)
def test_a_value_that_its_vr_cannot_hold_leaves_the_element_empty(element):
    read = _read(DatasetEncoder(EXPLICIT).encode({"00280010": element}), EXPLICIT)
    assert read[0x00280010].value is None


def test_sequences_nested_without_end_do_not_exhaust_the_stack():
    element: dict = {"vr": "SQ"}
    for _ in range(5_000):
        element = {"vr": "SQ", "Value": [{"00400275": element}]}
    assert DatasetEncoder(EXPLICIT).encode({"00400275": element})


def test_an_unknown_transfer_syntax_is_refused():
    with pytest.raises(UnknownTransferSyntax):
        DatasetEncoder("1.2.3")


NAMES = {
    ("ISO_IR 100",): "Buc^Jérôme",
    ("ISO_IR 101",): "Wałęsa",
    ("ISO_IR 126",): "Διονυσιος",
    ("ISO_IR 127",): "قباني^لنزار",
    ("ISO_IR 138",): "שרון^דבורה",
    ("ISO_IR 144",): "Филипп",
    ("ISO_IR 148",): "Çavuşoğlu",
    ("ISO_IR 166",): "สมชาย",
    ("ISO_IR 13",): "ﾔﾏﾀﾞ^ﾀﾛｳ",
    ("ISO_IR 192",): "Wang^XiaoDong=王^小东",
    ("GB18030",): "Wang^XiaoDong=王^小东",
    ("GBK",): "Wang^XiaoDong=王^小东",
    ("", "ISO 2022 IR 87"): "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ("ISO 2022 IR 13", "ISO 2022 IR 87"): "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ("", "ISO 2022 IR 149"): "Hong^Gildong=洪^吉洞=홍^길동",
}


@pytest.mark.parametrize("values", NAMES)
def test_text_is_written_in_the_preferred_character_set_when_that_can(values):
    name = NAMES[values]
    preferred = text_encoder_for(values)
    assert preferred is not None
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False))
    data = DatasetEncoder(EXPLICIT, preferred).encode({"00100010": {"vr": "PN", "Value": [groups]}})
    read = _read(data, EXPLICIT)
    assert str(read.PatientName) == name
    written = read.SpecificCharacterSet
    assert ([written] if isinstance(written, str) else list(written)) == list(values)


@pytest.mark.parametrize("values", [("ISO_IR 100",), ("", "ISO 2022 IR 87"), ("ISO_IR 13",)])
def test_text_that_the_preferred_character_set_lacks_is_written_in_utf_8(values):
    element = {"vr": "LO", "Value": ["Łódź 山 한"]}
    preferred = text_encoder_for(values)
    assert preferred is not None
    with pytest.raises(CharacterNotEncodable):
        preferred.encode("Łódź 山 한", is_name=False)
    read = _read(DatasetEncoder(EXPLICIT, preferred).encode({"00081030": element}), EXPLICIT)
    assert (read.StudyDescription, read.SpecificCharacterSet) == ("Łódź 山 한", "ISO_IR 192")


@pytest.mark.parametrize(
    "preferred", [UNICODE, text_encoder_for(("ISO_IR 100",)), text_encoder_for(("", "ISO 2022 IR 87"))]
)
def test_plain_ascii_names_no_character_set(preferred):
    element = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00081030": {"vr": "LO", "Value": ["Head"]}}
    assert "SpecificCharacterSet" not in _read(DatasetEncoder(EXPLICIT, preferred).encode(element), EXPLICIT)


def test_text_in_a_sequence_counts_for_the_character_set():
    item = {"00081030": {"vr": "LO", "Value": ["Schädel"]}}
    data = DatasetEncoder(IMPLICIT, text_encoder_for(("ISO_IR 100",)) or UNICODE).encode(
        {"00081110": {"vr": "SQ", "Value": [item]}}
    )
    read = _read(data, IMPLICIT)
    assert read.SpecificCharacterSet == "ISO_IR 100"
    assert read[0x00081110].value[0].StudyDescription == "Schädel"


def test_an_unknown_character_set_is_none_to_write_in():
    assert text_encoder_for(("KLINGON",)) is None
