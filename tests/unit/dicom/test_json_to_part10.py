"""Data sets in JSON that strangers wrote: what is refused, and that the rest is the same in a file."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from osteon.dicom.encoded_data_set import BadMetadata, EncodedDataSet
from osteon.dicom.json_reader import MAX_DEPTH, MAX_VALUES, JsonReader, MetadataLimit
from osteon.dicom.json_to_part10 import BulkFileRange, write_part10_file
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.dicom.xml_reader import BadXml
from support.dicom.metadata import composed, encode, encode_text, from_xml

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
_VRS = st.sampled_from(["LO", "PN", "SQ", "US", "DS", "IS", "OB", "UI", "AT", "UT", "UN", "FD", "XX"])
_ELEMENT = st.fixed_dictionaries(
    {"vr": _VRS}, optional={"Value": st.lists(_JSON, max_size=3) | _JSON, "InlineBinary": st.text(max_size=8)}
)
_TAGS = st.sampled_from(
    ["00080018", "00080005", "00100010", "00280010", "00400275", "7FE00010", "0029100a", "00020010", "fffee00d", "x"]
)
_DATA_SETS = st.recursive(
    st.dictionaries(_TAGS, _ELEMENT, max_size=4),
    lambda inner: st.lists(inner).map(lambda items: {"00400275": {"vr": "SQ", "Value": items}}),
    max_leaves=4,
)


@pytest.mark.slow
@given(_DATA_SETS | _JSON)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_a_data_set_or_is_refused(tmp_path: Path, given_json: object) -> None:
    try:
        (tmp_path / "made.dcm").unlink(missing_ok=True)
        read = composed(tmp_path / "made.dcm", given_json)
    except BadMetadata as error:
        assert str(error)
    else:
        assert isinstance(given_json, dict)
        kept = {tag.upper() for tag in given_json if not tag.startswith("0002")}
        assert kept <= set(read) <= kept | {"00080005"}


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_document_or_are_refused(document: bytes) -> None:
    for whole in (document, b"<NativeDicomModel>" + document + b"</NativeDicomModel>"):
        try:
            assert isinstance(from_xml(whole), dict)
        except BadXml as error:
            assert str(error)


def test_values_of_every_kind_are_the_same_in_the_file(tmp_path: Path) -> None:
    data_set = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00081030": {"vr": "LO", "Value": ["Schädel"]},
        "00081140": {"vr": "SQ", "Value": [{}, {"00081155": {"vr": "UI", "Value": ["1.2"]}}]},
        "00081111": {"vr": "SQ"},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "山田^花子"}]},
        "00104000": {"vr": "LT", "Value": ["a\\b"]},
        "00180050": {"vr": "DS", "Value": [1.25, -3]},
        "00189074": {"vr": "DT"},
        "00200013": {"vr": "IS", "Value": [-7]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [512]},
        "00291001": {"vr": "UN", "InlineBinary": "AAEC/w=="},
        "00720078": {"vr": "UL", "Value": [4294967295]},
    }
    assert composed(tmp_path / "made", data_set) == dict(sorted(data_set.items()))


def test_text_is_utf_8_whatever_the_metadata_says(tmp_path: Path) -> None:
    latin = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00100020": {"vr": "LO", "Value": ["ä"]}}
    assert composed(tmp_path / "latin", latin)["00080005"]["Value"] == ["ISO_IR 192"]
    assert "00080005" not in composed(tmp_path / "ascii", {"00100020": {"vr": "LO", "Value": ["a"]}})


def test_bulk_data_too_long_for_its_vr_is_written_as_un(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"1" * 65535)
    data_set = encode({"00081030": {"vr": "LO", "BulkDataURI": "b"}})
    write_part10_file(
        tmp_path / "made", data_set, {"b": BulkFileRange([tmp_path / "b"])}, EXPLICIT_VR_LITTLE_ENDIAN, {}
    )
    assert (tmp_path / "made").read_bytes().endswith(b"UN\0\0" + (65536).to_bytes(4, "little") + b"1" * 65535 + b" ")


def test_sequences_are_nested_within_bounds() -> None:
    def nested(depth: int) -> dict[str, Any]:
        data_set: dict[str, Any] = {}
        for _ in range(depth):
            data_set = {"00400275": {"vr": "SQ", "Value": [data_set]}}
        return data_set

    encode(nested(MAX_DEPTH))
    with pytest.raises(BadMetadata, match="nested"):
        encode(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("tag", ["7FE00008", "7FE00009", "7fe00010", "FFFEE000", "fffee00d"])
@pytest.mark.parametrize("value", [[], [{}]])
def test_a_sequence_where_none_can_be_is_refused(tag: str, value: list[object]) -> None:
    element = {tag: {"vr": "SQ", "Value": value}}
    for data_set in (element, {"00400275": {"vr": "SQ", "Value": [element]}}):
        with pytest.raises(BadMetadata, match=tag.upper()):
            encode(data_set)


def test_an_element_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadMetadata, match="twice"):
        encode({"0029100a": {"vr": "LO"}, "0029100A": {"vr": "LO"}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'[{"00189087":{"vr":"FD","Value":[' + b"1," * MAX_VALUES + b"1]}}]", "values"),
        (b'[{"00400275":{"vr":"SQ","Value":[' + b"{}," * MAX_VALUES + b"{}]}}]", "items"),
        (b'[{"00104000":{"vr":"LT","Value":["' + b"a" * (9 << 20) + b'"]}}]', "bulk data"),
        (b"[{" + b",".join([b'"%08X":{"vr":"LO"}' % (0x00110010 + n) for n in range(100_010)]) + b"}]", "elements"),
        (b'[{"00291010":{"vr":"OB","InlineBinary":"' + b"AAAA" * 400_000 + b'"}}]', "longer than 1048576 bytes"),
    ],
    ids=["values", "items", "text", "elements", "bytes"],
)
def test_a_data_set_beyond_a_limit_is_refused_and_says_which(text: bytes, says: str) -> None:
    with pytest.raises(MetadataLimit, match=says):
        encode_text(text)


def test_the_value_may_stand_before_its_vr(tmp_path: Path) -> None:
    given = b"""[{"00091010":{"Value":[{"00100020":{"Value":["x"],"vr":"LO"}},{}],"vr":"SQ"},
        "00100010":{"Value":[{"Alphabetic":"Doe"}],"vr":"PN"},"00291010":{"Value":[{"Alphabetic":"A"}],"vr":"PN"}}]"""
    data_set = encode_text(given)
    write_part10_file(tmp_path / "made", data_set, {}, EXPLICIT_VR_LITTLE_ENDIAN, {})
    read = dcmread(tmp_path / "made", force=True)
    assert [len(item) for item in read[0x00091010].value] == [1, 0]
    assert (read.PatientName, read[0x00291010].value) == ("Doe", "A")


@pytest.mark.parametrize("value", ['[{"00100020":{}}]', "[[1]]", "[true]", '[{"Alphabetic":1}]'])
def test_objects_of_another_vr_are_refused(value: str) -> None:
    with pytest.raises(BadMetadata, match="00291010"):
        encode_text(b'[{"00291010":{"Value":' + value.encode() + b',"vr":"LO"}}]')


def test_an_invalid_data_set_does_not_take_its_neighbours_along() -> None:
    text = b'[{"00100020":{"vr":"LO","Value":["a"]}},{"x":{"y":[{}]}},7,{"00100020":{"vr":"LO","Value":["b"]}}]'
    found = list(JsonReader(io.BytesIO(text), 1000, frozenset({"00100020"}), frozenset()).data_sets())
    assert [one.texts.get("00100020") if isinstance(one, EncodedDataSet) else None for one in found] == [
        "a", None, None, "b",
    ]  # fmt: skip
