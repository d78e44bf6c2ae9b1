"""Damaged and unusual elements, the same at each door: identity, header, transcoding, file meta information."""

import io
import json
import struct

import pydicom
import pytest

from osteon.dicom.encoding import EXPLICIT as EXPLICIT_ENCODING
from osteon.dicom.encoding import IMPLICIT as IMPLICIT_ENCODING
from osteon.dicom.errors import BadDataSet
from osteon.dicom.header.model import Header
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import Identity
from osteon.dicom.part10 import read_part10, write_part10_header
from osteon.dicom.peek import peek_identity
from osteon.dicom.reencode import ElementScope, Reencoder, iter_elements
from osteon.errors import Invalid
from support.dicom.elements import (
    EXPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    implicit,
    item,
    sequence,
)
from support.fuzz.data_sets import calls, same_identity_from_any_beginning

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.7"
JANE = Identity("P1", "1.2.3", "1.2.3.9", "1.2.3.4", SOP_CLASS)
PIXELS = explicit(0x7FE00010, "OW", bytes(64))
UNKNOWN = {
    "question marks": b"??", "blanks": b"  ", "NUL": b"\0\0", "lower case": b"lo", "OX": b"OX", "digit": b"L0",
    "garbage": b"\x93\xfe",
}  # fmt: skip


def elements() -> dict[int, bytes]:
    """Return the elements of an identified image, by tag."""
    return {
        0x00080016: explicit(0x00080016, "UI", SOP_CLASS.encode() + b"\0"),
        0x00080018: explicit(0x00080018, "UI", b"1.2.3.4\0"),
        0x00080060: explicit(0x00080060, "CS", b"CT"),
        0x00100010: explicit(0x00100010, "PN", b"Doe^Jane"),
        0x00100020: explicit(0x00100020, "LO", b"P1"),
        0x0020000D: explicit(0x0020000D, "UI", b"1.2.3\0"),
        0x0020000E: explicit(0x0020000E, "UI", b"1.2.3.9\0"),
        0x00280010: explicit(0x00280010, "US", b"\x10\0"),
        0x7FE00010: PIXELS,
    }


def with_element(tag: int, element: bytes) -> bytes:
    """Return the image's data set with another element where its tag belongs."""
    return b"".join(value for _, value in sorted({**elements(), tag: element}.items()))


def raw(tag: int, vr: bytes, value: bytes, *, long: bool, length: int | None = None) -> bytes:
    """Return an element with any VR and either form of length."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HL", 0, size) if long else struct.pack("<H", size)) + value


def beginning(data: bytes) -> tuple[dict[str, object], Header]:
    header = HeaderReader().read_beginning(data, EXPLICIT)
    return json.loads(header.json), header


def is_whole(data: bytes) -> None:
    """Fail the test unless a data set is identified, from any beginning too, and read to its pixel data."""
    assert peek_identity(data, EXPLICIT, complete=True) == JANE
    same_identity_from_any_beginning(data, EXPLICIT, range(0, len(data), 3))
    found, header = beginning(data)
    assert found["00280010"] == {"vr": "US", "Value": [16]}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert header.pixel_data
    assert data[header.pixel_data.offset :][: header.pixel_data.length] == bytes(64)


@pytest.mark.parametrize("value", [b"", b"TEST", b"LOTS", b"A" * 300, b"\0" * 64])
@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("vr", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_vr_is_un_in_whichever_form_of_length_leads_on(vr: bytes, long: bool, value: bytes) -> None:
    data = with_element(0x00081030, raw(0x00081030, vr, value, long=long))
    is_whole(data)
    found, header = beginning(data)
    text = value.decode().strip("\0")
    assert found["00081030"] == ({"vr": "LO", "Value": [text]} if text else {"vr": "LO"})
    assert header.unread == ""
    if value or vr != b"\0\0":  # without a value, two zero bytes are an element that states no VR, too
        assert f"unknown VR {vr.decode('latin-1')!r}, taken for UN" in {each.reason for each in header.problems}


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("vr", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_vr_is_read_alike_in_items_beside_others_at_the_ends_and_in_private_blocks(
    vr: bytes, undefined: bool
) -> None:
    bad = raw(0x00081150, vr, b"TEST", long=undefined)
    behind = explicit(0x00081155, "UI", b"1.2\0")
    for inner in (bad, bad + behind, bad + raw(0x00081155, vr, b"TEST", long=undefined)):
        nested = sequence(0x00081140, item(inner, undefined=undefined), item(behind), undefined=undefined)
        data = with_element(0x00081140, nested)
        is_whole(data)
        found, _ = beginning(data)
        assert found["00081140"]["Value"][0]["00081150"] == {"vr": "UI", "Value": ["TEST"]}  # type: ignore[index]
        assert len(found["00081140"]["Value"]) == 2  # type: ignore[index]
    private = explicit(0x00210010, "LO", b"ACME") + raw(0x00211001, vr, b"\1\2\3\4", long=undefined)
    data = with_element(0x00210010, private)
    is_whole(data)
    assert beginning(data)[0]["00211001"] == {"vr": "UN", "InlineBinary": "AQIDBA=="}
    is_whole(with_element(0x00080005, raw(0x00080005, vr, b"ISO_IR 100", long=undefined)))
    is_whole(with_element(0xFFFCFFFC, raw(0xFFFCFFFC, vr, b"TEST", long=undefined)))


@pytest.mark.parametrize("vr", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_sequence_with_an_unknown_vr_is_read(vr: bytes) -> None:
    nested = item(explicit(0x00081150, "UI", b"1.2\0")) + SEQUENCE_END
    data = with_element(0x00081140, raw(0x00081140, vr, nested, long=True, length=UNDEFINED))
    is_whole(data)
    assert beginning(data)[0]["00081140"] == {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}}]}


def test_elements_without_a_vr_among_others_are_read_as_before() -> None:
    data = with_element(0x00081030, implicit(0x00081030, b"TEST") + implicit(0x00081040, b"WARD"))
    is_whole(data)
    found, header = beginning(data)
    assert found["00081040"] == {"vr": "LO", "Value": ["WARD"]}
    assert header.problems == ()


def test_unknown_vr_with_lengths_that_lead_nowhere_is_named() -> None:
    data = with_element(0x00290010, raw(0x00290010, b"??", b"", long=False, length=9))
    assert peek_identity(data, EXPLICIT, complete=True) == JANE
    found, header = beginning(data)
    assert "00280010" in found
    assert header.unread.startswith("00290010 at byte")
    assert "unknown VR '??', and no length leads on" in header.unread


ORDERS = {
    "an image attribute first": lambda tag: (tag >> 16 != 0x28, tag),
    "SOP Instance UID last": lambda tag: (tag == 0x00080018, tag),
    "UIDs last": lambda tag: (tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E), tag),
    "patient behind the series": lambda tag: (tag >> 16 != 0x08, tag >> 16 != 0x20, tag >> 16 != 0x10, tag),
    "descending": lambda tag: -tag,
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_elements_may_come_in_any_order(order: object) -> None:
    data = b"".join(value for _, value in sorted(elements().items(), key=lambda each: order(each[0])))  # type: ignore[operator]
    is_whole(data)
    found, header = beginning(data)
    assert list(found) == sorted(found)
    assert [each.reason for each in header.problems] == ["elements are out of order"]
    file = write_part10_header(SOP_CLASS, "1.2.3.4", EXPLICIT) + data
    judge = pydicom.dcmread(io.BytesIO(file))
    assert (judge.StudyInstanceUID, judge.PatientID, judge.Rows) == ("1.2.3", "P1", 16)


def test_character_set_behind_the_patient_s_identifier_is_found() -> None:
    patient = explicit(0x00100020, "LO", b"\xbb\xee\xda ")
    data = b"".join({**elements(), 0x00100020: patient + explicit(0x00080005, "CS", b"ISO_IR 144")}.values())
    identity = peek_identity(data, EXPLICIT, complete=True)
    assert identity
    assert identity.patient_id == "Люк"


def test_damage_behind_the_uids_never_refuses_an_instance() -> None:
    whole = elements()
    del whole[0x00100020]
    data = b"".join(whole.values()).replace(PIXELS, explicit(0x00290010, "SQ", b"garbage!"))
    identity = peek_identity(data, EXPLICIT, complete=True)
    assert identity
    assert (identity.patient_id, identity.sop_uid) == ("", "1.2.3.4")


REFERENCE = explicit(0x00081150, "UI", b"1.2\0")
DAMAGED = {
    "sequence too short": explicit(0x00081140, "SQ", item(REFERENCE), length=10),
    "sequence too long": explicit(0x00081140, "SQ", item(REFERENCE), length=40),
    "sequence without length": explicit(0x00081140, "SQ", item(REFERENCE), length=0),
    "sequence without delimiter": sequence(0x00081140, item(REFERENCE), undefined=True)[:-8],
    "item too short": sequence(0x00081140, item(REFERENCE, length=6)),
    "item too long": sequence(0x00081140, item(REFERENCE, length=60)),
    "item without delimiter": sequence(0x00081140, item(REFERENCE, undefined=True)[:-8]),
    "item without delimiter before a sequence's": sequence(
        0x00081140, item(REFERENCE, undefined=True)[:-8], undefined=True
    ),
    "item without delimiter before an item": sequence(
        0x00081140, item(REFERENCE, undefined=True)[:-8], item(REFERENCE), undefined=True
    ),
    "inner sequence without delimiter": sequence(
        0x00081140, item(sequence(0x00081199, item(REFERENCE), undefined=True)[:-8], undefined=True), undefined=True
    ),
    "delimiter in an item of defined length": sequence(0x00081140, item(REFERENCE + ITEM_END)),
    "value beyond the end": explicit(0x00081030, "LO", b"TEST", length=40_000),
    "short length for UN": raw(0x00081140, b"UN", b"TEST", long=False),
    "short length for UT": raw(0x00081140, b"UT", b"TEST", long=False),
    "odd length": explicit(0x00081030, "LO", b"ODD"),
    "odd length in an item": sequence(0x00081140, item(explicit(0x00081150, "UI", b"1.2"))),
    "wrong group length": explicit(0x00080000, "UL", b"\xff\xff\0\0"),
    "twice": explicit(0x00081030, "LO", b"TEST") * 2,
}
SOUND = {
    "item without delimiter before a sequence's", "item without delimiter before an item",
    "inner sequence without delimiter", "delimiter in an item of defined length", "odd length",
    "odd length in an item", "wrong group length", "twice",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_element_before_the_uids_costs_nothing_but_itself(name: str) -> None:
    tag = int.from_bytes(DAMAGED[name][:2], "little") << 16 | int.from_bytes(DAMAGED[name][2:4], "little")
    data = with_element(tag, DAMAGED[name])
    is_whole(data)
    assert (beginning(data)[1].unread == "") == (name in SOUND)


def test_identifiers_of_other_instances_in_a_damaged_sequence_are_not_taken_for_its_own() -> None:
    others = (
        explicit(0x00081150, "UI", b"9.9\0")
        + explicit(0x0020000D, "UI", b"9.8\0")
        + explicit(0x0020000E, "UI", b"9.7\0")
    )
    for length in (6, 30, 70, 300):
        is_whole(with_element(0x00081115, explicit(0x00081115, "SQ", item(others) * 2, length=length)))
        is_whole(with_element(0x00081115, sequence(0x00081115, item(others, length=length), item(others))))


def test_file_cut_within_a_sequence_gives_none_of_its_elements_as_its_own() -> None:
    nested = sequence(0x52009230, *(item(b"".join(list(elements().values())[2:5])) for _ in range(50)))
    data = b"".join(list(elements().values())[:-1]) + nested
    for cut in range(len(data) - len(nested) + 12, len(data), 7):
        found, header = beginning(data[:cut])
        assert set(found) <= {f"{tag:08X}" for tag in elements()} | {"52009230"}
        assert header.unread


def test_search_for_identifiers_is_bounded() -> None:
    many = b"".join(explicit(0x00091000 + n % 0xFFF, "SH") for n in range(70_000))
    with pytest.raises(BadDataSet, match="more than 65536 elements"):
        peek_identity(many + b"".join(elements().values()), EXPLICIT, complete=True)
    faults = b"".join(explicit(0x00080100 + n, "SQ", b"garbage!", length=6) for n in range(40))
    with pytest.raises(Invalid):
        peek_identity(faults + b"".join(elements().values()), EXPLICIT, complete=True)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("vr", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_vr_becomes_un_in_another_encoding(vr: bytes, long: bool) -> None:
    data = with_element(0x00211001, raw(0x00211001, vr, b"TEST", long=long))
    assert recoded(data)[0x00211001] == b"TEST"
    assert len(recoded(data)) == len(elements()) + 1


def recoded(data: bytes) -> dict[int, bytes]:
    """Return the values of a data set after it was put into implicit VR and read again."""
    recoder, scope = Reencoder(data, IMPLICIT_ENCODING), ElementScope()
    there = b"".join(
        piece
        for found in iter_elements(data, 0, len(data), EXPLICIT_ENCODING)
        for piece in recoder.element(found, EXPLICIT_ENCODING, scope)
    )
    spans = iter_elements(there, 0, len(there), IMPLICIT_ENCODING)
    return {found.tag: there[found.start : found.end] for found in spans}


@pytest.mark.parametrize("vr", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_file_meta_information_with_an_unknown_vr_is_read(vr: bytes) -> None:
    file = bytes(128) + b"DICM" + raw(0x00020003, vr, b"1.2.3.4\0", long=False)
    file += explicit(0x00020010, "UI", EXPLICIT.encode() + b"\0") + b"".join(elements().values())
    meta = read_part10(file)
    assert (meta.sop_instance_uid, meta.transfer_syntax_uid) == ("1.2.3.4", EXPLICIT)


def test_sequence_beyond_the_limit_is_left_out_and_what_follows_is_read() -> None:
    many = {
        "items": sequence(0x00081140, item() * 3000),
        "elements": sequence(0x00081140, *(item(REFERENCE) for _ in range(800))),
        "undefined": sequence(0x00081140, *(item(REFERENCE, undefined=True) for _ in range(800)), undefined=True),
    }
    for name, nested in many.items():
        data = with_element(0x00081140, nested)
        header = HeaderReader(max_elements=1000).read_beginning(data, EXPLICIT)
        found = json.loads(header.json)
        assert found["00081140"] == {"vr": "SQ"}, name
        assert found["00280010"] == {"vr": "US", "Value": [16]}, name
        assert header.pixel_data
        assert "more elements and items than the limit" in header.unread
        assert HeaderReader().read(data, EXPLICIT).unread == ""


def test_data_set_of_too_many_elements_is_read_up_to_the_limit() -> None:
    many = b"".join(explicit(0x00211000 + n, "SH", b"%04d" % n) for n in range(2000))
    header = HeaderReader(max_elements=1000).read_beginning(with_element(0x00211000, many), EXPLICIT)
    assert "more elements and items" in header.unread
    assert len(json.loads(header.json)) == 1001


def test_work_for_nested_sequences_grows_with_their_bytes_not_with_their_depth() -> None:
    def tower(depth: int, leaves: int) -> bytes:
        head = implicit(0x00081140, length=UNDEFINED) + item(undefined=True)[:8]
        leaf = implicit(0x00081199, item(undefined=True) * leaves + SEQUENCE_END, length=UNDEFINED)
        return head * depth + leaf + (ITEM_END + SEQUENCE_END) * depth

    def work(data: bytes) -> int:
        recoder = Reencoder(data, EXPLICIT_ENCODING)
        (found,) = iter_elements(data, 0, len(data), IMPLICIT_ENCODING)
        return calls(lambda: list(recoder.element(found, IMPLICIT_ENCODING, ElementScope())))

    shallow, deep = work(tower(1, 2000)), work(tower(90, 2000))
    assert deep < 1.5 * shallow
