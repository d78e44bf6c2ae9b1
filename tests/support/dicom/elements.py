"""Data sets made by hand, byte by byte, for what no well-behaved library writes."""

import json
import struct
from typing import Any

from osteon.dicom.header.model import Header
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.json_values import without_texts

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
UNDEFINED = 0xFFFFFFFF
LONG_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}

ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def explicit(tag: int, vr: str, value: bytes = b"", *, order: str = "<", length: int | None = None) -> bytes:
    """Return an element in explicit VR; `length` replaces the true one."""
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack(f"{order}HL", 0, size) if vr in LONG_VRS else struct.pack(f"{order}H", size)) + value


def implicit(tag: int, value: bytes = b"", *, length: int | None = None) -> bytes:
    """Return an element in implicit VR; `length` replaces the true one."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(value: bytes = b"", *, undefined: bool = False, length: int | None = None) -> bytes:
    """Return an item, of defined length unless told."""
    size = UNDEFINED if undefined else len(value) if length is None else length
    return struct.pack("<HHL", 0xFFFE, 0xE000, size) + value + (ITEM_END if undefined else b"")


def sequence(tag: int, *items: bytes, undefined: bool = False, vr: str = "SQ") -> bytes:
    """Return a sequence in explicit VR, of defined length unless told."""
    value = b"".join(items)
    if undefined:
        return explicit(tag, vr, value + SEQUENCE_END, length=UNDEFINED)
    return explicit(tag, vr, value)


def identified(*, patient: bytes = b"P1", charset: bytes = b"ISO_IR 100") -> bytes:
    """Return the elements that identify an instance, in explicit VR little endian."""
    return b"".join(
        (
            explicit(0x00080005, "CS", charset),
            explicit(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
            explicit(0x00080018, "UI", b"1.2.3.4\0"),
            explicit(0x00100010, "PN", b"Doe^Jane"),
            explicit(0x00100020, "LO", patient),
            explicit(0x0020000D, "UI", b"1.2.3\0"),
            explicit(0x0020000E, "UI", b"1.2.3.9\0"),
        )
    )


def read(data: bytes, syntax: str = EXPLICIT, **limits: int) -> tuple[dict[str, Any], Header]:
    """Read a header afresh: its JSON, parsed, without the text of numbers, and itself."""
    header = HeaderReader(**limits).read(data, syntax)
    return json.loads(without_texts(header.json)), header


def value_of(data: bytes, tag: str, syntax: str = EXPLICIT) -> dict[str, Any]:
    """Return the JSON of one element."""
    found: dict[str, Any] = read(data, syntax)[0][tag]
    return found
