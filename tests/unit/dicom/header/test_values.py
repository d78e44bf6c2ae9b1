"""Values of each VR as DICOM JSON, and which VR an element has that does not say."""

import json
import struct
from typing import Any

import pytest

from osteon.dicom.encoding import LONG_VRS, SHORT_VRS
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.json_values import without_texts
from support.dicom.elements import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    implicit,
    item,
    read,
    sequence,
    value_of,
)

TEXT_VALUES = [
    ("AE", b" STORE \\OTHER", ["STORE", "OTHER"]),
    ("AS", b"031Y", ["031Y"]),
    ("CS", b"ORIGINAL \\PRIMARY\\", ["ORIGINAL", "PRIMARY", None]),
    ("DA", b"20260102", ["20260102"]),
    ("DT", b"20260102101010+0100 ", ["20260102101010+0100"]),
    ("TM", b"101010.5", ["101010.5"]),
    ("UI", b"1.2.3\\1.2.4\0", ["1.2.3", "1.2.4"]),
    ("UR", b"http://localhost/a b ", ["http://localhost/a b"]),
    ("LO", b"one \\\\ three", ["one", None, " three"]),
    ("SH", b"short\0", ["short"]),
    ("UC", b"a\\b ", ["a", "b"]),
    ("ST", b"a\\b ", ["a\\b"]),
    ("LT", b'"quoted"\r\n\\ ', ['"quoted"\r\n\\']),
    ("UT", b"  indented ", ["  indented"]),
    ("PN", b"Doe^Jane", [{"Alphabetic": "Doe^Jane"}]),
    ("PN", b"Doe^Jane==phon \\=ideo", [{"Alphabetic": "Doe^Jane", "Phonetic": "phon"}, {"Ideographic": "ideo"}]),
    ("PN", b"a\\\\b ", [{"Alphabetic": "a"}, None, {"Alphabetic": "b"}]),
    ("PN", b"== ", [None]),
    ("DS", b"1.5\\-2\\+3e1\\.5\\5.\\\\7 ", [1.5, -2, 30.0, 0.5, 5.0, None, 7]),
    ("IS", b"1\\-2\\+3\\1.0\\\\007 ", [1, -2, 3, 1, None, 7]),
]
NUMBER_VALUES = [
    ("US", "H", [0, 65535]),
    ("SS", "h", [-32768, 32767]),
    ("UL", "L", [0, 4294967295]),
    ("SL", "l", [-2147483648, 5]),
    ("UV", "Q", [0, 18446744073709551615]),
    ("SV", "q", [-9223372036854775808, 9223372036854775807]),
    ("FL", "f", [0.5, -1.25]),
    ("FD", "d", [0.1, 1e300]),
]


@pytest.mark.parametrize(("vr", "raw", "values"), TEXT_VALUES)
def test_text_becomes_the_values_of_its_vr(vr: str, raw: bytes, values: list[Any]) -> None:
    found, header = read(explicit(0x00091001, vr, raw))
    assert found == {"00091001": {"vr": vr, "Value": values}}
    assert header.problems == ()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("vr", "code", "values"), NUMBER_VALUES)
def test_binary_numbers_are_read_in_either_byte_order(vr: str, code: str, values: list[float], order: str) -> None:
    raw = struct.pack(f"{order}{len(values)}{code}", *values)
    syntax = EXPLICIT if order == "<" else BIG_ENDIAN
    assert value_of(explicit(0x00091001, vr, raw, order=order), "00091001", syntax) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("order", ["<", ">"])
def test_attribute_tags_are_eight_hexadecimal_digits(order: str) -> None:
    raw = struct.pack(f"{order}4H", 0x0010, 0x0020, 0x7FE0, 0xABCD)
    syntax = EXPLICIT if order == "<" else BIG_ENDIAN
    data = explicit(0x00091001, "AT", raw, order=order)
    assert value_of(data, "00091001", syntax)["Value"] == ["00100020", "7FE0ABCD"]


@pytest.mark.parametrize("vr", sorted(vr.decode() for vr in LONG_VRS | SHORT_VRS))
def test_empty_element_has_a_vr_and_no_value(vr: str) -> None:
    assert value_of(explicit(0x00091001, vr), "00091001") == {"vr": vr}


@pytest.mark.parametrize(("vr", "raw"), [("LO", b"  "), ("CS", b" \0"), ("DS", b"  "), ("PN", b"  "), ("UI", b"\0\0")])
def test_value_of_padding_alone_is_empty(vr: str, raw: bytes) -> None:
    assert value_of(explicit(0x00091001, vr, raw), "00091001") == {"vr": vr}


def test_numbers_that_json_lacks_are_strings() -> None:
    raw = struct.pack("<4d", float("nan"), float("inf"), float("-inf"), 1.5)
    assert value_of(explicit(0x00091001, "FD", raw), "00091001")["Value"] == ["NaN", "inf", "-inf", 1.5]


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("DS", b"1.5\\abc ", [1.5, "abc"]),
        ("DS", b"nan ", ["nan"]),
        ("DS", b"1e999 ", ["1e999"]),
        ("DS", b"1_0 ", ["1_0"]),
        ("DS", b"9" * 5000, ["9" * 5000]),
        ("IS", b"10mm", ["10mm"]),
        ("IS", b"1.5 ", [1.5]),
        ("IS", b"\xb2 ", ["²"]),
    ],
)
def test_text_in_place_of_a_number_is_kept_and_marked(vr: str, raw: bytes, values: list[Any]) -> None:
    found, header = read(explicit(0x00091001, vr, raw), bulk_limit=1 << 16)
    assert found["00091001"] == {"vr": vr, "Value": values}
    assert [problem.path for problem in header.problems] == ["00091001"]


@pytest.mark.parametrize("vr", ["US", "FD", "UV", "AT"])
def test_wrong_number_of_bytes_is_kept_as_unknown_and_marked(vr: str) -> None:
    found, header = read(explicit(0x00091001, vr, b"abc"))
    assert found["00091001"] == {"vr": "UN", "InlineBinary": "YWJj"}
    assert "not a multiple" in header.problems[0].reason


def test_nul_within_text_is_left_out_and_marked() -> None:
    found, header = read(explicit(0x00100020, "LO", b"P1\0junk"))
    assert found["00100020"]["Value"] == ["P1junk"]
    assert header.problems[0].path == "00100020"


@pytest.mark.parametrize("vr", ["OB", "OW", "OF", "UN"])
def test_short_binary_value_stands_in_line(vr: str) -> None:
    assert value_of(explicit(0x00091001, vr, b"\1\2\3\4"), "00091001") == {"vr": vr, "InlineBinary": "AQIDBA=="}


def test_binary_value_of_a_big_endian_data_set_is_little_endian_in_json() -> None:
    data = explicit(0x00091001, "OW", b"\1\2\3\4", order=">") + explicit(0x00091002, "OD", bytes(range(8)), order=">")
    found, _ = read(data, BIG_ENDIAN)
    assert found["00091001"]["InlineBinary"] == "AgEEAw=="
    assert found["00091002"]["InlineBinary"] == "BwYFBAMCAQA="


def test_long_value_is_left_out_and_can_be_found_again() -> None:
    long = b"x" * 5000
    nested = sequence(0x00400275, item(), item(explicit(0x00091010, "OB", long)))
    data = explicit(0x00091001, "LO", b"short ") + nested
    found, header = read(data)
    element = found["00400275"]["Value"][1]["00091010"]
    assert element == {"vr": "OB", "BulkDataURI": "bulk/00400275/1/00091010"}
    offset, length = header.bulk["00400275/1/00091010"]
    assert data[offset : offset + length] == long


def test_long_value_of_a_vr_that_may_not_be_bulk_stays() -> None:
    data = explicit(0x00091001, "UI", b"\\".join([b"1.2.3.4"] * 1000) + b"\0")
    assert len(value_of(data, "00091001")["Value"]) == 1000


def test_absurdly_long_text_is_left_out_and_marked() -> None:
    found, header = read(implicit(0x00100020, b"x" * 2_000_000), IMPLICIT)
    assert found["00100020"]["BulkDataURI"] == "bulk/00100020"
    assert "too long" in header.problems[0].reason


def test_group_lengths_and_trailing_padding_are_left_out() -> None:
    data = explicit(0x00080000, "UL", b"\4\0\0\0") + explicit(0x00080060, "CS", b"CT")
    assert read(data + explicit(0xFFFCFFFC, "OB", bytes(8)))[0] == {"00080060": {"vr": "CS", "Value": ["CT"]}}


def test_implicit_vr_takes_the_vr_of_the_dictionary() -> None:
    data = implicit(0x00080060, b"CT") + implicit(0x00280010, b"\2\0") + implicit(0x00189999, b"?\0")
    found, _ = read(data, IMPLICIT)
    assert found == {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00189999": {"vr": "UN", "InlineBinary": "PwA="},
        "00280010": {"vr": "US", "Value": [2]},
    }


def test_private_element_takes_the_vr_that_its_creator_gave_it() -> None:
    creator = implicit(0x00190010, b"GEMS_ACQU_01")
    found, _ = read(creator + implicit(0x00191002, b"\5\0\0\0") + implicit(0x001910FF, b"ab"), IMPLICIT)
    assert found["00190010"] == {"vr": "LO", "Value": ["GEMS_ACQU_01"]}
    assert found["00191002"] == {"vr": "SL", "Value": [5]}
    assert found["001910FF"] == {"vr": "UN", "InlineBinary": "YWI="}


def test_private_element_without_creator_is_unknown() -> None:
    assert value_of(implicit(0x00191002, b"\5\0\0\0"), "00191002", IMPLICIT)["vr"] == "UN"


def test_creator_holds_within_its_own_item_alone() -> None:
    inside = item(implicit(0x00190010, b"GEMS_ACQU_01") + implicit(0x00191002, b"\5\0\0\0"))
    data = implicit(0x00081140, inside + item(implicit(0x00191002, b"\5\0\0\0")))
    first, second = value_of(data, "00081140", IMPLICIT)["Value"]
    assert (first["00191002"]["vr"], second["00191002"]["vr"]) == ("SL", "UN")


def test_unknown_vr_of_a_known_tag_is_read_as_what_it_is() -> None:
    assert value_of(explicit(0x00080060, "UN", b"CT"), "00080060") == {"vr": "CS", "Value": ["CT"]}


def test_unknown_vr_of_undefined_length_hides_a_sequence_in_implicit_vr() -> None:
    inner = item(implicit(0x00080060, b"CT"), undefined=True) + SEQUENCE_END
    found = value_of(explicit(0x00091001, "UN", inner, length=UNDEFINED), "00091001")
    assert found == {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}]}


def test_unknown_vr_of_a_long_value_stays_unknown() -> None:
    data = explicit(0x00080060, "UN", b"x" * 0xFFFE) + explicit(0x00081030, "UN", b"x" * 0x10000)
    found, _ = read(data, bulk_limit=1 << 20)
    assert (found["00080060"]["vr"], found["00081030"]["vr"]) == ("CS", "UN")


def test_unknown_vr_is_little_endian_even_in_a_big_endian_data_set() -> None:
    assert value_of(explicit(0x00280010, "UN", b"\2\0", order=">"), "00280010", BIG_ENDIAN)["Value"] == [2]


def test_unknown_vr_may_hide_explicit_vr_too() -> None:
    inner = item(explicit(0x00080060, "CS", b"CT")) + SEQUENCE_END
    found = value_of(explicit(0x00091001, "UN", inner, length=UNDEFINED), "00091001")
    assert found["Value"] == [{"00080060": {"vr": "CS", "Value": ["CT"]}}]


def test_vr_of_a_later_edition_is_skipped_by_its_long_length() -> None:
    data = explicit(0x00091001, "ZZ") + struct.pack("<L", 4) + b"abcd" + explicit(0x00100020, "LO", b"P1")
    found, header = read(data)
    assert found["00091001"] == {"vr": "UN", "InlineBinary": "YWJjZA=="}
    assert found["00100020"]["Value"] == ["P1"]
    assert "unknown VR 'ZZ'" in header.problems[0].reason


@pytest.mark.parametrize(("representation", "vr", "value"), [(0, "US", 65535), (1, "SS", -1)])
def test_us_or_ss_follows_pixel_representation(representation: int, vr: str, value: int) -> None:
    data = implicit(0x00280103, struct.pack("<H", representation)) + implicit(0x00280106, b"\xff\xff")
    assert value_of(data, "00280106", IMPLICIT) == {"vr": vr, "Value": [value]}


def test_us_or_ss_before_pixel_representation_follows_it_too() -> None:
    inside = implicit(0x00081140, item(implicit(0x00280106, b"\xff\xff")) + SEQUENCE_END, length=UNDEFINED)
    data = inside + implicit(0x00189810, b"\xfe\xff") + implicit(0x00280103, b"\1\0")
    found, _ = read(data, IMPLICIT)
    assert found["00081140"]["Value"][0]["00280106"] == {"vr": "SS", "Value": [-1]}
    assert found["00189810"] == {"vr": "SS", "Value": [-2]}


def test_us_or_ss_in_an_item_follows_the_representation_of_that_item() -> None:
    icon = item(implicit(0x00280103, b"\0\0") + implicit(0x00280106, b"\xff\xff"))
    data = implicit(0x00280103, b"\1\0") + implicit(0x00880200, icon) + implicit(0x00409211, b"\xff\xff")
    found, _ = read(implicit(0x00280103, b"\1\0") + implicit(0x00409211, b"\xff\xff"), IMPLICIT)
    assert found["00409211"]["vr"] == "SS"
    assert value_of(data, "00880200", IMPLICIT)["Value"][0]["00280106"] == {"vr": "US", "Value": [65535]}


def test_same_sequence_is_read_by_the_representation_around_it() -> None:
    reader = HeaderReader()
    nested = implicit(0x00409096, item(implicit(0x00409211, b"\xff\xff")))
    seen = [
        json.loads(reader.read(implicit(0x00280103, bits) + nested, IMPLICIT).json)["00409096"]["Value"][0]["00409211"]
        for bits in (b"\0\0", b"\1\0")
    ]
    assert seen == [{"vr": "US", "Value": [65535]}, {"vr": "SS", "Value": [-1]}]


@pytest.mark.parametrize(("entries", "vr"), [(1, "US"), (2, "OW")])
def test_lut_data_is_words_unless_it_has_one_entry(entries: int, vr: str) -> None:
    lut = item(implicit(0x00283002, struct.pack("<3H", entries, 0, 16)) + implicit(0x00283006, b"\1\0" * entries))
    assert value_of(implicit(0x00283010, lut), "00283010", IMPLICIT)["Value"][0]["00283006"]["vr"] == vr


def test_lut_of_one_entry_says_nothing_about_other_elements() -> None:
    data = implicit(0x00283002, struct.pack("<3H", 1, 0, 16)) + implicit(0x60003000, b"\1\0")
    assert value_of(data, "60003000", IMPLICIT)["vr"] == "OW"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_number_of_entries_of_a_lut_is_never_negative(syntax: str) -> None:
    raw = struct.pack("<HhH", 40000, -5, 16)
    if syntax == EXPLICIT:
        data = explicit(0x00280103, "US", b"\1\0") + explicit(0x00281101, "SS", raw)
    else:
        data = implicit(0x00280103, b"\1\0") + implicit(0x00281101, raw)
    assert value_of(data, "00281101", syntax)["Value"] == [40000, -5, 16]


def test_data_set_in_the_other_vr_encoding_than_declared_is_read_and_marked() -> None:
    found, header = read(implicit(0x00080060, b"CT"), EXPLICIT)
    assert found["00080060"]["Value"] == ["CT"]
    assert "unlike the transfer syntax" in header.problems[0].reason
    found, header = read(explicit(0x00080060, "CS", b"CT"), IMPLICIT)
    assert found["00080060"]["Value"] == ["CT"]
    assert header.problems


def test_items_that_switch_to_implicit_vr_are_read() -> None:
    found = value_of(sequence(0x00081140, item(implicit(0x00080060, b"CT"))), "00081140")
    assert found["Value"] == [{"00080060": {"vr": "CS", "Value": ["CT"]}}]


def test_elements_out_of_order_are_sorted_and_marked() -> None:
    found, header = read(explicit(0x00100020, "LO", b"P1") + explicit(0x00080060, "CS", b"CT"))
    assert list(found) == ["00080060", "00100020"]
    assert [problem.reason for problem in header.problems] == ["elements are out of order"]


def test_first_of_duplicate_elements_is_kept() -> None:
    data = explicit(0x00080060, "CS", b"CT") + explicit(0x00080060, "CS", b"MR")
    found, header = read(data)
    assert found == {"00080060": {"vr": "CS", "Value": ["CT"]}}
    assert "duplicate" in header.problems[0].reason


def test_empty_data_set_has_an_empty_header() -> None:
    assert read(b"")[0] == {}


def test_zero_bytes_behind_the_last_element_are_marked() -> None:
    found, header = read(explicit(0x00080060, "CS", b"CT") + bytes(3))
    assert list(found) == ["00080060"]
    assert "3 zero bytes" in header.problems[0].reason


@pytest.mark.parametrize(
    ("vr", "raw", "text"),
    [
        ("DS", b"27.000000 ", "27.000000"), ("DS", b"-0.000000", "-0.000000"), ("DS", b"1.5\\2", None),
        ("IS", b"0008", "0008"), ("IS", b"8 ", None), ("CS", b"A \\B", "A \\B"), ("LO", b'say " \\x', 'say " \\x'),
    ],
)  # fmt: skip
def test_text_that_values_do_not_show_is_kept_beside_them_and_is_not_part_of_the_model(
    vr: str, raw: bytes, text: str | None
) -> None:
    data = explicit(0x00091001, vr, raw + b" " * (len(raw) % 2))
    written = HeaderReader().read(data, EXPLICIT).json
    assert json.loads(written)["00091001"].get("Text") == text
    assert "Text" not in json.loads(without_texts(written))["00091001"]
    assert (without_texts(written) == written) == (text is None)
