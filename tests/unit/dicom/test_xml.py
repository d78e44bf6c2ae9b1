"""The Native DICOM Model both ways: round trips of invented and of real data sets, and documents that are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.json_values import without_texts
from osteon.dicom.xml import MAX_DEPTH, NAMESPACE, to_xml
from osteon.dicom.xml_reader import BadXml
from support.dicom.metadata import from_xml

_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\^=\ufffe\uffff"), min_size=1, max_size=20
).filter(str.strip)
_ELEMENTS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "00080020": ("DA", st.just("20240102")),
    "00080060": ("CS", st.sampled_from(["CT", "MR"])),
    "00081030": ("LO", _TEXT),
    "00100010": ("PN", st.fixed_dictionaries({"Alphabetic": _TEXT.map(lambda t: f"{t}^x^^^z")})),
    "00104000": ("LT", _TEXT),
    "00181041": ("DS", st.integers(-1000, 1000) | st.floats(-1e6, 1e6).filter(lambda x: not x.is_integer())),
    "00200013": ("IS", st.integers(-(2**31), 2**31)),
    "00280010": ("US", st.integers(0, 65535)),
    "00189087": ("FD", st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not x.is_integer())),
    "00720078": ("UL", st.integers(0, 2**32 - 1)),
}
_ONE_VALUE = {"LT"}


@st.composite
def _data_sets(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in draw(st.sets(st.sampled_from(sorted(_ELEMENTS)))):
        vr, value = _ELEMENTS[tag]
        values = draw(st.lists(value | st.none(), max_size=1 if vr in _ONE_VALUE else 3))
        filled = any(v is not None for v in values)
        found[tag] = {"vr": vr, "Value": values} if filled else {"vr": vr}
    if draw(st.booleans()):
        found["7FE00010"] = {"vr": "OW", "BulkDataURI": "bulk/7FE00010?a=1&b=<2>"}
    if draw(st.booleans()):
        found["00290010"] = {"vr": "LO", "Value": ["OSTEON & TEST"]}
        found["00291001"] = {"vr": "OB", "InlineBinary": "AAEC"}
    if depth < 3 and (items := draw(st.lists(_data_sets(depth=depth + 1), max_size=2))):
        found["00400275"] = {"vr": "SQ", "Value": items}
    return {tag: found[tag] for tag in sorted(found)}


@pytest.mark.slow
@given(_data_sets())
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read_back(dataset: dict[str, Any]) -> None:
    assert from_xml(to_xml(dataset)) == dataset


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm", "ExplVR_BigEnd.dcm"])
def test_headers_of_real_files_survive_the_way_through_xml(name: str) -> None:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    file = dcmread(path)
    data, syntax = Path(path).read_bytes(), str(file.file_meta.TransferSyntaxUID)
    offset = data.index(b"DICM") + 4 + 12 + int(file.file_meta.FileMetaInformationGroupLength)
    header = json.loads(without_texts(HeaderReader().read(data[offset:], syntax).json))
    assert from_xml(to_xml(header)) == {tag: element for tag, element in header.items() if tag[4:] != "0000"}


def test_the_document_is_the_one_of_the_standard() -> None:
    document = to_xml(
        {
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane^^Dr", "Ideographic": "山田"}]},
            "00290010": {"vr": "LO", "Value": ["OSTEON"]},
            "00291002": {"vr": "SH", "Value": ["a", None, "b<"]},
            "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}]},
        }
    ).decode()
    assert f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">' in document
    assert '<DicomAttribute keyword="PatientName" tag="00100010" vr="PN">' in document
    assert "<FamilyName>Doe</FamilyName><GivenName>Jane</GivenName><NamePrefix>Dr</NamePrefix>" in document
    assert '<DicomAttribute tag="00290002" vr="SH" privateCreator="OSTEON">' in document
    assert '<Value number="2"></Value><Value number="3">b&lt;</Value>' in document
    assert '<Item number="1">' in document
    assert "00290010" not in document


def test_pydicom_means_the_same_by_what_is_read() -> None:
    dataset = Dataset()
    dataset.PatientName, dataset.Rows, dataset.SliceThickness = "Doe^Jane", 512, "1.5"
    dataset.private_block(0x0029, "OSTEON", create=True).add_new(0x02, "SH", "x")
    read = from_xml(to_xml(json.loads(dataset.to_json())))
    assert Dataset.from_json(json.dumps(read)) == dataset


def test_elements_of_two_creators_get_blocks_of_their_own() -> None:
    read = from_xml(
        _document(
            '<DicomAttribute tag="00290001" vr="SH" privateCreator="A"><Value number="1">1</Value></DicomAttribute>'
            '<DicomAttribute tag="00290001" vr="SH" privateCreator="B"><Value number="1">2</Value></DicomAttribute>'
            '<DicomAttribute tag="00291002" vr="SH" privateCreator="C"><Value number="1">3</Value></DicomAttribute>'
        )
    )
    values = {tag: element["Value"][0] for tag, element in read.items()}
    assert values == {
        "00290010": "C", "00290011": "A", "00290012": "B", "00291002": "3", "00291101": "1", "00291201": "2",
    }  # fmt: skip


def test_values_left_out_are_told_by_the_numbers_of_the_others() -> None:
    value = '<DicomAttribute tag="00080008" vr="CS"><Value number="3">AXIAL</Value></DicomAttribute>'
    assert from_xml(_document(value)) == {"00080008": {"vr": "CS", "Value": [None, None, "AXIAL"]}}


def test_a_vr_that_is_not_given_comes_from_the_dictionary() -> None:
    rows = '<DicomAttribute tag="00280010"><Value number="1">512</Value></DicomAttribute>'
    assert from_xml(_document(rows)) == {"00280010": {"vr": "US", "Value": [512]}}


def test_characters_that_xml_lacks_do_not_break_the_document() -> None:
    element = {"00104000": {"vr": "LT", "Value": ["a\x0cb\r\nc\x1b"]}}
    assert from_xml(to_xml(element)) == {"00104000": {"vr": "LT", "Value": ["a\ufffdb\r\nc\ufffd"]}}


_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE n [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    f'<NativeDicomModel xmlns="{NAMESPACE}">&b;</NativeDicomModel>'
)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (_LAUGHS, "document type"),
        ('<!DOCTYPE n SYSTEM "file:///etc/passwd"><n/>', "document type"),
        ("<NativeDicomModel>", "well-formed"),
        ("", "well-formed"),
        ('<?xml version="1.0" encoding="UTF-42"?><NativeDicomModel/>', "well-formed"),
        ("<Other/>", "NativeDicomModel"),
        ('<NativeDicomModel><Other tag="00100010"/></NativeDicomModel>', "expected DicomAttribute"),
        ('<NativeDicomModel><DicomAttribute tag="1"/></NativeDicomModel>', "tag='1'"),
        ('<NativeDicomModel><DicomAttribute tag="00100010" vr="p"/></NativeDicomModel>', "vr='p'"),
        ('<NativeDicomModel><DicomAttribute tag="00100010"><Value/></DicomAttribute></NativeDicomModel>', "PersonName"),
        ('<NativeDicomModel>' + '<DicomAttribute tag="00100020"/>' * 2 + "</NativeDicomModel>", "twice"),
        ("<NativeDicomModel>" + '<DicomAttribute tag="00400275" vr="SQ"><Item>' * 1000, "nested"),
    ],
    ids=["laughs", "external", "cut", "empty", "charset", "root", "child", "tag", "vr", "value", "twice", "deep"],
)  # fmt: skip
def test_other_documents_are_refused_with_a_reason(document: str, reason: str) -> None:
    with pytest.raises(BadXml, match=reason):
        from_xml(document.encode())


def test_sequences_are_read_as_deep_as_they_are_written() -> None:
    dataset: dict[str, Any] = {"00100020": {"vr": "LO", "Value": ["x"]}}
    for _ in range(MAX_DEPTH):
        dataset = {"00400275": {"vr": "SQ", "Value": [dataset]}}
    assert from_xml(to_xml(dataset)) == dataset


def _document(elements: str) -> bytes:
    return f'<NativeDicomModel xmlns="{NAMESPACE}">{elements}</NativeDicomModel>'.encode()
