"""The identity of a data set from its first bytes, for the hot path of storing: nothing is decoded but identifiers.

Elements stand in ascending order (PS3.5 7.1), so all identifiers are found before group 0022, long before pixel data.
"""

from typing import Final

from osteon.dicom.charset import character_set
from osteon.dicom.deflate import inflate_beginning
from osteon.dicom.elements import MAX_SKIPPED_ELEMENTS, element_head, nested_encoding, skip_undefined
from osteon.dicom.encoding import (
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    Encoding,
    actual_encoding,
    declared_encoding,
)
from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.identity import Identity, require_uid
from osteon.dicom.uids import transfer_syntax

_CHARACTER_SET: Final = 0x00080005
_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_PATIENT_ID: Final = 0x00100020
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_WANTED: Final = frozenset((_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE, _PATIENT_ID, _STUDY, _SERIES))
_UIDS: Final = {
    _SOP_CLASS: "SOP Class UID (0008,0016)",
    _SOP_INSTANCE: "SOP Instance UID (0008,0018)",
    _STUDY: "Study Instance UID (0020,000D)",
    _SERIES: "Series Instance UID (0020,000E)",
}
_LONGEST: Final = 1024
"""Bytes of an identifier. The standard allows 64 characters, which take at most some hundred bytes."""

_INFLATED: Final = 1 << 20
"""How much of a deflated data set is inflated to look for its identifiers, in bytes."""

_MOST_ELEMENTS: Final = 1 << 16
"""Elements that may stand before the Series Instance UID: real ones have some hundred at most."""

_MAX_SKIPPED_BYTES: Final = 64 << 20
"""Bytes of values of undefined length, which are walked through, before the Series Instance UID."""


def peek_identity(
    data: Buffer,
    transfer_syntax_uid: str,
    *,
    complete: bool,
    max_skipped_elements: int = MAX_SKIPPED_ELEMENTS,
    max_skipped_bytes: int = _MAX_SKIPPED_BYTES,
) -> Identity | None:
    """Read the identity of a data set from its first bytes.

    Returns None when `data` does not reach far enough; call again with more, from the first byte on. `complete` says
    that there is no more. Padding is stripped; a data set without Patient ID has an empty one. The limits are for
    values of undefined length: elements of each, and bytes of all.

    Raises `MissingIdentifier` when a UID is absent or invalid, `BadDataSet` when the data cannot be read up to there,
    and `UnknownTransferSyntax`.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    found: dict[int, bytes] = {}
    fault = ""
    if syntax.deflated:
        data, ended, fault = inflate_beginning(data, _INFLATED)
        complete = complete or ended or bool(fault) or len(data) >= _INFLATED
    try:
        reached = _collect(data, declared_encoding(syntax), found, max_skipped_elements, max_skipped_bytes)
    except TruncatedDataSet as error:
        if not complete:
            return None
        if fault:
            raise BadDataSet(f"cannot be inflated: {fault}", error.tag, error.offset) from None
        raise
    return _identity(found) if reached or complete else None


def _collect(data: Buffer, encoding: Encoding, found: dict[int, bytes], max_elements: int, max_skipped: int) -> bool:
    """Collect the raw values of the wanted elements; whether the data reached behind the last of them."""
    size = len(data)
    encoding = actual_encoding(data, 0, encoding)
    explicit, head = encoding.explicit, encoding.head.unpack_from
    position = skipped = 0
    for _ in range(_MOST_ELEMENTS):
        if position >= size:
            break
        # Almost every element takes the first way; calling `element_head` for all would take three times as long.
        if explicit and position + 8 <= size and (fields := head(data, position))[2] in SHORT_VRS:
            group, element, vr, length = fields
            tag, start = group << 16 | element, position + 8
        else:
            tag, vr, start, length = element_head(data, position, encoding)
        if tag > _SERIES:
            return True
        if length == UNDEFINED:
            position = skip_undefined(data, start, nested_encoding(vr, encoding), max_elements)
            skipped = _bounded(skipped + position - start, max_skipped, tag, start)
            continue
        position = start + length
        if tag in _WANTED:
            if length > _LONGEST:
                raise BadDataSet(f"an identifier of {length} bytes", f"{tag:08X}", start)
            if position > size:
                raise TruncatedDataSet("the data set ends within the value", f"{tag:08X}", start)
            found.setdefault(tag, bytes(data[start:position]))
            if tag == _SERIES:
                return True
    else:
        raise BadDataSet(f"more than {_MOST_ELEMENTS} elements before the identifiers", "", position)
    if position > size:
        raise TruncatedDataSet("the data set ends within the value", f"{tag:08X}", start)
    return False


def _bounded(skipped: int, limit: int, tag: int, position: int) -> int:
    if skipped > limit:
        raise BadDataSet(f"{skipped} bytes of sequences before the identifiers", f"{tag:08X}", position)
    return skipped


def _identity(found: dict[int, bytes]) -> Identity:
    uids = []
    for tag, name in _UIDS.items():
        uids.append(require_uid(name, found.get(tag, b"").strip(b" \0").decode("latin-1")))
    sop_class, sop, study, series = uids
    patient, _ = character_set(found.get(_CHARACTER_SET, b"")).decode(found.get(_PATIENT_ID, b""))
    return Identity(patient.strip(" \0"), study, series, sop, sop_class)
