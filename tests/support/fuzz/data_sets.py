"""Data sets as no honest sender makes them, and what must hold for each."""

import json
import struct
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Final

from hypothesis import strategies as st

from osteon.dicom.errors import BadDataSet
from osteon.dicom.header.model import Header
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import MissingIdentifier
from osteon.dicom.part10 import read_part10
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid
from support.dicom.elements import EXPLICIT, LONG_VRS, UNDEFINED, explicit, identified, implicit, item, sequence
from support.dicom.real_files import BUNDLED


def bundled() -> list[tuple[str, bytes, str]]:
    """Return name, data set and transfer syntax of each bundled file that has file meta information."""
    found = []
    for path in sorted(BUNDLED.rglob("*")):
        if path.is_file() and (file := path.read_bytes())[128:132] == b"DICM":
            try:
                meta = read_part10(file)
            except Invalid:
                continue
            found.append((path.name, file[meta.data_set_offset :], meta.transfer_syntax_uid))
    return found


VRS: Final = [
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN",
    "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV", "ZZ", "??", "ox", "\0\0",
]  # fmt: skip
TAGS: Final = [
    0x00020010, 0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080020, 0x00080030, 0x00080050, 0x00080060,
    0x00081140, 0x00090010, 0x00091001, 0x00100010, 0x00100020, 0x00100030, 0x00101002, 0x0020000D, 0x0020000E,
    0x00200011, 0x00200013, 0x00280008, 0x00280010, 0x00280103, 0x00281101, 0x00283002, 0x00283006, 0x00400275,
    0x00400009, 0x00420011, 0x50003000, 0x7FE00001, 0x7FE00002, 0x7FE00010, 0xFFFAFFFA, 0xFFFCFFFC, 0xFFFEE000,
    0xFFFEE00D, 0xFFFEE0DD,
]  # fmt: skip
LENGTHS: Final = [None, 0, 1, 3, 7, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED]
TEXTS: Final = [
    b"", b" ", b"\0", b"\\" * 40, b"=" * 9, b"^" * 9, b"ISO_IR 192", b"ISO 2022 IR 87\\ISO 2022 IR 159", b"GB18030",
    b"ISO_IR 999", b"\\ISO 2022 IR 149", b"\x1b$B;3", b"\x1b$", b"\x1b", b"\x1b$)C\xfb", b"\xed\xa0\x80", b"\xff\xfe",
    b"1.2.3/../../x", b"20249999", b"256161.9999999", b"1e999", b"-1_000", b"9" * 400, b"nan", b"a\0b", b"\xc3",
    b"'\"{}\n\r\t\x7f", b"1" * 65,
]  # fmt: skip

values = st.one_of(st.sampled_from(TEXTS), st.binary(max_size=24), st.binary(max_size=3).map(lambda b: b * 2000))


def _element(tag: int, vr: str, value: bytes, length: int | None) -> bytes:
    if vr in LONG_VRS:
        return explicit(tag, vr, value, length=length)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin-1")[:2]
    return head + struct.pack("<H", (len(value) if length is None else length) & 0xFFFF) + value


lengths = st.one_of(st.none(), st.none(), st.none(), st.sampled_from(LENGTHS))
tags = st.one_of(st.sampled_from(TAGS), st.integers(0, UNDEFINED))
elements = st.one_of(
    st.builds(_element, tags, st.sampled_from(VRS), values, lengths),
    st.builds(lambda tag, value, length: implicit(tag, value, length=length), tags, values, lengths),
)


def _nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    items = st.lists(
        st.builds(
            lambda value, undefined, length: item(value, undefined=undefined, length=length),
            st.lists(inner, max_size=3).map(b"".join),
            st.booleans(),
            lengths,
        ),
        max_size=3,
    )
    return st.builds(
        lambda tag, found, undefined, vr: sequence(tag, *found, undefined=undefined, vr=vr),
        tags, items, st.booleans(), st.sampled_from(["SQ", "SQ", "UN", "OB"]),
    )  # fmt: skip


any_elements = st.recursive(elements, _nested, max_leaves=8)
tails = st.lists(any_elements, max_size=6).map(b"".join)


@st.composite
def data_sets(draw: st.DrawFn) -> bytes:
    """An identified data set with hostile elements behind its identifiers, or anywhere, cut or with bytes changed."""
    data = bytearray(identified(patient=draw(values)[:200], charset=draw(st.sampled_from(TEXTS))) + draw(tails))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data[at:at] = draw(any_elements)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + 2] = draw(st.binary(min_size=1, max_size=3))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


def read_either(reader: HeaderReader, data: bytes, syntax: str = EXPLICIT) -> Header | Exception:
    """Read a header, and as far as it goes; fails the test unless both are as promised."""
    beginning = reader.read_beginning(data, syntax)
    assert isinstance(json.loads(beginning.json), dict)
    try:
        header = reader.read(data, syntax)
    except BadDataSet as error:
        assert beginning.unread
        return error
    assert header == beginning
    for offset, length in header.bulk.values():
        assert 0 <= offset <= offset + length <= len(data)
    if header.pixel_data:
        for offset, length in header.pixel_data.frames:
            assert 0 <= offset <= offset + length <= len(data)
    return header


def same_identity_from_any_beginning(data: bytes, syntax: str, cuts: Sequence[int]) -> None:
    """Fail the test unless what is told from a beginning is what the whole tells: packs are made by the former."""
    try:
        whole: object = peek_identity(data, syntax, complete=True)
    except (BadDataSet, MissingIdentifier) as error:
        whole = str(error)
    for cut in cuts:
        try:
            found: object = peek_identity(data[:cut], syntax, complete=False)
        except (BadDataSet, MissingIdentifier) as error:
            found = str(error)
        assert found is None or found == whole


def peak(work: Callable[[], object]) -> int:
    """Return the bytes of memory that `work` takes at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def calls(work: Callable[[], object]) -> int:
    """Return how many functions `work` calls, those of C included: its cost, whatever else the machine does."""
    count = 0

    def note(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
