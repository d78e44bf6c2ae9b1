"""DICOM files: preamble, prefix and file meta information (PS3.10 section 7.1).

Osteon's own files carry the SHA-256 of their data set as private information, so that a pack alone proves what it
holds.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from osteon.dicom.elements import element_head
from osteon.dicom.encoding import EXPLICIT, LONG_VRS, SHORT_VRS
from osteon.dicom.errors import BadDataSet, BadPart10
from osteon.dicom.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    PRIVATE_INFORMATION_CREATOR_UID,
)

PREFIX_END: Final = 132
"""Of the preamble (128 bytes) and the prefix `DICM`."""

_HEAD = struct.Struct("<HH2sH")
_LONG = struct.Struct("<L")
_RESERVED = bytes(32)


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What stands before the data set of a DICOM file. A UID, title or name that the file lacks is empty.

    Attributes:
        data_set_offset: where the data set begins, in bytes from the file's first byte.
        transfer_syntax_uid: of the data set; never empty.
        sop_class_uid, sop_instance_uid: Media Storage SOP Class and Instance UID.
        private_creator_uid, private_information: (0002,0100) and (0002,0102).
    """

    data_set_offset: int
    transfer_syntax_uid: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    source_aet: str = ""
    sending_aet: str = ""
    receiving_aet: str = ""
    private_creator_uid: str = ""
    private_information: bytes = b""


_TEXT_FIELDS: Final = {
    0x0002: "sop_class_uid",
    0x0003: "sop_instance_uid",
    0x0010: "transfer_syntax_uid",
    0x0012: "implementation_class_uid",
    0x0013: "implementation_version_name",
    0x0016: "source_aet",
    0x0017: "sending_aet",
    0x0018: "receiving_aet",
    0x0100: "private_creator_uid",
}
_MOST_TEXT = 1024
_MOST_PRIVATE = 65536


def has_prefix(file: bytes | memoryview | mmap) -> bool:
    """Whether a file says that it is DICOM, by the prefix of PS3.10 7.1."""
    return bytes(file[128:PREFIX_END]) == b"DICM"


def require_prefix(file: bytes | memoryview | mmap) -> None:
    """Raise `BadPart10` when a file does not have the prefix of PS3.10 7.1."""
    if not has_prefix(file):
        raise BadPart10("not a DICOM file: no DICM prefix behind a preamble of 128 bytes")


def read_part10(file: bytes | memoryview | mmap) -> FileMeta:
    """Read the file meta information at the beginning of a DICOM file.

    Raises `BadPart10` when the prefix or the transfer syntax is missing or the bytes end within the group.
    """
    require_prefix(file)
    fields: dict[str, str] = {}
    private = b""
    position = PREFIX_END
    for element, start, end in _elements(file):
        position = end
        if element in _TEXT_FIELDS:
            value = bytes(file[start : min(end, start + _MOST_TEXT)])
            fields[_TEXT_FIELDS[element]] = value.decode("ascii", "replace").strip(" \0")
        elif element == 0x0102:
            private = bytes(file[start : min(end, start + _MOST_PRIVATE)])
    if not fields.get("transfer_syntax_uid"):
        raise BadPart10("the file meta information has no Transfer Syntax UID (0002,0010)")
    return FileMeta(data_set_offset=position, private_information=private, **fields)


def _elements(file: bytes | memoryview | mmap) -> Iterator[tuple[int, int, int]]:
    """Give (element number, value's start, value's end) of group 0002, until another group begins.

    The group length is not relied upon: writers get it wrong, and the group's end is plain to see.
    """
    position, size = PREFIX_END, len(file)
    while position + 8 <= size:
        group, element, vr, length = _HEAD.unpack_from(file, position)
        if group != 0x0002:
            return
        start = position + 8
        if vr not in SHORT_VRS:
            try:
                _, _, start, length = element_head(file, position, EXPLICIT)
            except BadDataSet as error:
                raise BadPart10(f"(0002,{element:04X}) at byte {position}: {error.reason}") from None
        if start + length > size:
            raise BadPart10(f"(0002,{element:04X}) at byte {position} is longer than the file")
        position = start + length
        yield element, start, position
    if position != size:
        raise BadPart10(f"the file ends within its file meta information, at byte {size}")


def write_part10_header(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    *,
    source_aet: str = "",
    sending_aet: str = "",
    receiving_aet: str = "",
    sha256: bytes | None = None,
) -> bytes:
    """Return preamble, prefix and file meta information for a data set that follows it.

    `sha256` is the digest (32 bytes) of the data set. Its space is reserved when it is None, so that the header can be
    written before the data set has gone by and be written over, with the same arguments and the digest, afterwards.
    An AE title that is empty is left out.
    """
    if sha256 is not None and len(sha256) != len(_RESERVED):
        raise ValueError(f"a SHA-256 has {len(_RESERVED)} bytes, not {len(sha256)}")
    group = b"".join(
        (
            _element(0x0001, b"OB", b"\x00\x01"),
            _element(0x0002, b"UI", _uid(sop_class_uid)),
            _element(0x0003, b"UI", _uid(sop_instance_uid)),
            _element(0x0010, b"UI", _uid(transfer_syntax_uid)),
            _element(0x0012, b"UI", _uid(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _text(IMPLEMENTATION_VERSION_NAME)),
            _element(0x0016, b"AE", _text(source_aet)) if source_aet else b"",
            _element(0x0017, b"AE", _text(sending_aet)) if sending_aet else b"",
            _element(0x0018, b"AE", _text(receiving_aet)) if receiving_aet else b"",
            _element(0x0100, b"UI", _uid(PRIVATE_INFORMATION_CREATOR_UID)),
            _element(0x0102, b"OB", sha256 or _RESERVED),
        )
    )
    return bytes(128) + b"DICM" + _element(0x0000, b"UL", _LONG.pack(len(group))) + group


def file_sha256(meta: FileMeta) -> bytes | None:
    """Return the SHA-256 (32 bytes) that Osteon wrote into a file; None when the file is not its own or has none."""
    digest = meta.private_information
    if meta.private_creator_uid != PRIVATE_INFORMATION_CREATOR_UID or len(digest) != len(_RESERVED):
        return None
    return None if digest == _RESERVED else digest


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if vr in LONG_VRS:
        return _HEAD.pack(0x0002, element, vr, 0) + _LONG.pack(len(value)) + value
    return _HEAD.pack(0x0002, element, vr, len(value)) + value


def _uid(uid: str) -> bytes:
    value = uid.encode("ascii")
    return value + b"\0" if len(value) % 2 else value


def _text(text: str) -> bytes:
    """Encode an AE title or a version name: at most 16 characters of the default repertoire, even length."""
    value = text.encode("ascii", "replace")[:16]
    return value + b" " if len(value) % 2 else value
