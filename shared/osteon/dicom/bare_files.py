"""Files whose writers left out preamble and prefix (PS3.10 7.1), or the file meta information too.

What is missing is found out where that is possible. What looks at whole files blocks: call it in threads.
"""

import hashlib
from dataclasses import replace
from typing import Final

from osteon.dicom.encoding import VRS, Buffer
from osteon.dicom.errors import BadPart10
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.part10 import FileMeta, has_prefix, read_part10, write_part10_header
from osteon.dicom.peek import peek_identity
from osteon.dicom.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

_PREAMBLE: Final = 128
"""Bytes before the prefix."""
_PREFIX: Final = b"DICM"
_META_GROUP: Final = b"\x02\0"
_IDENTIFYING_GROUP: Final = b"\x08\0"
"""With which data sets of instances begin (PS3.3 C.12.1)."""
_LONGEST_META: Final = 1 << 20


def read_meta(file: Buffer) -> FileMeta:
    """Read the file meta information of a file with or without preamble, or tell the syntax of a bare data set.

    Offsets count from the first byte of `file`, which may end early. Raises `BadPart10`.
    """
    if has_prefix(file):
        return read_part10(file)
    lacking = _lacking(file)
    if not lacking:
        return FileMeta(0, _bare_syntax(file))
    meta = read_part10(lacking + bytes(file[:_LONGEST_META]))
    return replace(meta, data_set_offset=meta.data_set_offset - len(lacking))


def missing_beginning(file: Buffer, reader: HeaderReader) -> bytes:
    """Return what makes a file one of PS3.10 when it is put in front; empty when nothing is missing.

    Raises `Invalid`: `BadPart10` when the file is something else, or a data set whose syntax cannot be told.
    """
    if has_prefix(file):
        return b""
    if lacking := _lacking(file):
        return lacking
    syntax = bare_syntax(file, reader)
    identity = peek_identity(file, syntax, complete=True)
    assert identity is not None
    digest = hashlib.sha256(file).digest()
    return write_part10_header(identity.sop_class_uid, identity.sop_uid, syntax, sha256=digest)


def bare_syntax(data_set: Buffer, reader: HeaderReader) -> str:
    """Return the transfer syntax of a whole data set, which is one of those without compression (PS3.5 A.1 to A.3).

    Raises `BadPart10`, also for compressed pixel data, which do not say by which method; and `BadDataSet`.
    """
    syntax = _bare_syntax(data_set)
    pixel_data = reader.read(data_set, syntax).pixel_data
    if pixel_data is not None and pixel_data.encapsulated:
        raise BadPart10("compressed pixel data without file meta information: the transfer syntax is unknown")
    return syntax


def _lacking(file: Buffer) -> bytes:
    """Return what lacks before the prefix or the file meta information with which a file begins; else nothing."""
    if file[: len(_PREFIX)] == _PREFIX:
        return bytes(_PREAMBLE)
    return bytes(_PREAMBLE) + _PREFIX if file[:2] == _META_GROUP else b""


def _bare_syntax(data_set: Buffer) -> str:
    group, vr = bytes(data_set[:2]), bytes(data_set[4:6])
    if group == _IDENTIFYING_GROUP and len(data_set) >= 8:
        return EXPLICIT_VR_LITTLE_ENDIAN if vr in VRS else IMPLICIT_VR_LITTLE_ENDIAN
    if group == _IDENTIFYING_GROUP[::-1] and vr in VRS:
        return EXPLICIT_VR_BIG_ENDIAN
    raise BadPart10("not a DICOM file: no DICM prefix behind a preamble of 128 bytes, and no data set either")
