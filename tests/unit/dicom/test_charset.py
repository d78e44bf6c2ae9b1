"""Specific Character Set: a name or word in every defined term of PS3.3 C.12.1.1.2."""

# ruff: noqa: RUF001 (these are the letters of other alphabets)

import pytest

from osteon.dicom.charset import character_set
from support.dicom.elements import explicit, item, read, sequence, value_of

SINGLE_BYTE = [
    ("", b"Buc^Jerome", "Buc^Jerome"),
    ("ISO_IR 6", b"Buc^Jerome", "Buc^Jerome"),
    ("ISO_IR 100", b"\xc4neas^R\xfcdiger", "Äneas^Rüdiger"),
    ("ISO_IR 101", b"\xa3\xf3d\xbc", "Łódź"),
    ("ISO_IR 109", b"\xa1a\xb1", "Ħaħ"),
    ("ISO_IR 110", b"\xa9iauliai", "Šiauliai"),
    ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    ("ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    ("ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1\xe3\xe0\xd3", "Люкceмбург"),
    ("ISO_IR 148", b"\xdd\xfe\xf0", "İşğ"),
    ("ISO_IR 166", b"\xc7\xd4\xb9\xd1\xc2", "วินัย"),
    ("ISO_IR 203", b"\xbcuvre \xa4", "Œuvre €"),
    ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
]
WITHOUT_EXTENSIONS = [
    ("ISO_IR 192", "王^小東".encode(), "王^小東"),
    ("GB18030", b"\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东"),
    ("GBK", b"\xcd\xf5^\xd0\xa1\x96|", "王^小東"),
    ("ISO 2022 GBK", b"\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东"),
]
EXTENSIONS = [
    (r"\ISO 2022 IR 100", b"Buc^\x1b-AJ\xe9r\xf4me", "Buc^Jérôme"),
    (r"\ISO 2022 IR 101", b"\x1b-B\xa3\xf3d\xbc", "Łódź"),
    (r"\ISO 2022 IR 109", b"\x1b-C\xa1a\xb1", "Ħaħ"),
    (r"\ISO 2022 IR 110", b"\x1b-D\xa9iauliai", "Šiauliai"),
    (r"\ISO 2022 IR 126", b"\x1b-F\xc4\xe9\xef", "Διο"),
    (r"\ISO 2022 IR 127", b"\x1b-G\xe2\xc8\xc7", "قبا"),
    (r"\ISO 2022 IR 138", b"\x1b-H\xf9\xf8\xe5\xef", "שרון"),
    (r"\ISO 2022 IR 144", b"\x1b-L\xbb\xee\xda", "Люк"),
    (r"\ISO 2022 IR 148", b"\x1b-M\xdd\xfe\xf0", "İşğ"),
    (r"\ISO 2022 IR 166", b"\x1b-T\xc7\xd4\xb9", "วิน"),
    (r"\ISO 2022 IR 203", b"\x1b-b\xbcuvre", "Œuvre"),
    (r"\ISO 2022 IR 13", b"\x1b)I\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
    (r"\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
    (r"ISO 2022 IR 13\ISO 2022 IR 87", b"\xd4\xcf\x1b$B;3\x1b(J^", "ﾔﾏ山^"),
    (r"\ISO 2022 IR 159", b"\x1b$(D0!\x1b(B", "丂"),
    (r"\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪^吉洞"),
    (r"\ISO 2022 IR 58", b"\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "张^小东"),
    (r"ISO 2022 IR 100\ISO 2022 IR 126", b"J\xe9r\xf4me \x1b-F\xc4\xe9", "Jérôme Δι"),
    (r"ISO 2022 IR 100\ISO 2022 IR 144", b"\x1b-L\xbb\xee\\\xe9", "Лю\\é"),
]


@pytest.mark.parametrize(("declared", "raw", "text"), [*SINGLE_BYTE, *WITHOUT_EXTENSIONS, *EXTENSIONS])
def test_text_is_decoded_by_each_defined_term(declared: str, raw: bytes, text: str) -> None:
    charset = character_set(declared.encode())
    assert charset.decode(raw, name=True) == (text, "")
    assert charset.problem == ""


@pytest.mark.parametrize("spelling", ["ISO IR 126", "ISO-IR 126", "ISO_IR_126", "ISO 2022 IR 126", "ISO-2022-IR-126"])
def test_misspelt_term_is_understood(spelling: str) -> None:
    assert character_set(spelling.encode()).decode(b"\xc4\xe9") == ("Δι", "")


@pytest.mark.parametrize("term", ["ISO_IR 999", "KLINGON", "ISO_IR 100\\NONSENSE", "\xff\xfe"])
def test_unknown_term_is_a_problem_of_the_element(term: str) -> None:
    assert "unknown character set" in character_set(term.encode("latin-1")).problem


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        ("", b"M\xfcller"),
        ("ISO_IR 192", b"M\xfcller"),
        ("ISO_IR 127", b"\xff"),
        ("GB18030", b"\x81"),
        (r"\ISO 2022 IR 87", b"\x1b$B\x7f"),
        (r"\ISO 2022 IR 149", b"\x1b$)C\xff\xff"),
        (r"\ISO 2022 IR 100", b"\x1b-Zabc"),
    ],
)
def test_bytes_without_meaning_are_marked_and_never_raise(declared: str, raw: bytes) -> None:
    text, problem = character_set(declared.encode()).decode(raw)
    assert text
    assert problem


def test_every_byte_in_every_set_decodes_to_something() -> None:
    for declared, _, _ in [*SINGLE_BYTE, *WITHOUT_EXTENSIONS, *EXTENSIONS]:
        charset = character_set(declared.encode())
        for prefix in (b"", b"\x1b$B", b"\x1b$)C", b"\x1b", b"\x1b$", b"\x1b)I"):
            for byte in range(256):
                text, _ = charset.decode(prefix + bytes([byte]))
                text.encode()


def test_backslash_byte_within_a_character_of_two_bytes_is_no_delimiter() -> None:
    data = explicit(0x00080005, "CS", b"GB18030 ") + explicit(0x00100020, "LO", "誠\\b".encode("gb18030") + b" ")
    assert "誠".encode("gb18030")[1:] == b"\\"
    assert value_of(data, "00100020")["Value"] == ["誠", "b"]


@pytest.mark.parametrize("declared", ["ISO_IR 192", "GB18030", "GBK"])
def test_escape_sequence_has_no_effect_where_code_extensions_are_not_allowed(declared: str) -> None:
    assert character_set(declared.encode()).decode(b"a\x1b$Bb") == ("a\x1b$Bb", "")


def test_escape_sequence_ends_at_the_delimiter_between_values() -> None:
    charset = explicit(0x00080005, "CS", rb"ISO 2022 IR 100\ISO 2022 IR 126 ")
    data = charset + explicit(0x00100020, "LO", b"\x1b-F\xc4\\\xc4 ")
    assert value_of(data, "00100020")["Value"] == ["Δ", "Ä"]


def test_item_overrides_the_character_set_for_itself_alone() -> None:
    russian = item(explicit(0x00080005, "CS", b"ISO_IR 144") + explicit(0x00080104, "LO", b"\xbb\xee"))
    inherited = item(explicit(0x00080104, "LO", b"\xc4 "))
    data = (
        explicit(0x00080005, "CS", b"ISO_IR 100")
        + sequence(0x00081032, russian, inherited)
        + explicit(0x00100020, "LO", b"\xc4 ")
    )
    found, header = read(data)
    texts = [entry["00080104"]["Value"] for entry in found["00081032"]["Value"]]
    assert texts == [["Лю"], ["Ä"]]
    assert found["00100020"]["Value"] == ["Ä"]
    assert header.problems == ()


def test_json_says_that_it_is_utf8_whatever_the_data_set_was() -> None:
    data = explicit(0x00080005, "CS", b"ISO_IR 144") + explicit(0x00100010, "PN", b"\xbb\xee^\xda ")
    found, _ = read(data)
    assert found["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Лю^к"}]}


def test_undecodable_text_is_kept_and_marked_with_its_path() -> None:
    data = explicit(0x00080005, "CS", b"ISO_IR 192") + sequence(
        0x00081032, item(), item(explicit(0x00080104, "LO", b"a\xff"))
    )
    found, header = read(data)
    assert found["00081032"]["Value"][1]["00080104"]["Value"] == ["a�"]
    assert [problem.path for problem in header.problems] == ["00081032[1].00080104"]
