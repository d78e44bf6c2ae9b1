"""Small DICOM files from implicit into explicit VR little endian (PS3.5 A.1, A.2): no codec, only heads of elements."""

from typing import Final

from osteon.dicom.encoding import EXPLICIT, UNDEFINED, actual_encoding, declared_encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.part10 import read_part10, write_part10_header
from osteon.dicom.reencode import ElementScope, ElementSpan, Reencoder, encode_head, iter_elements
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax

_PIXEL_DATA: Final = 0x7FE00010
_SOP_INSTANCE: Final = 0x00080018
_SIGNED: Final = 0x00280103


def to_explicit_vr(file: bytes) -> bytes:
    """Return a DICOM file of Implicit VR Little Endian in Explicit VR Little Endian, as `imaging` would write it.

    Raises `BadPart10`, `BadDataSet`, `TruncatedDataSet`. Memory: the result, and its parts for a moment.
    """
    meta = read_part10(file)
    start = meta.data_set_offset
    encoding = actual_encoding(file, start, declared_encoding(transfer_syntax(meta.transfer_syntax_uid)))
    found = list(iter_elements(file, start, len(file), encoding))
    # Signs decide about VRs of elements in front of the one that says it, too.
    scope = ElementScope(_value(file, found, _SIGNED)[:2] == b"\1\0")
    uid = _value(file, found, _SOP_INSTANCE).decode("latin-1").strip(" \0")
    recoder = Reencoder(file, EXPLICIT)
    parts = [
        write_part10_header(
            meta.sop_class_uid,
            uid or meta.sop_instance_uid,
            EXPLICIT_VR_LITTLE_ENDIAN,
            source_aet=meta.source_aet,
            sending_aet=meta.sending_aet,
            receiving_aet=meta.receiving_aet,
        )
    ]
    for element in found:
        if element.tag == _PIXEL_DATA:
            if element.length == UNDEFINED:
                raise BadDataSet("pixel data in fragments, against the transfer syntax", "7FE00010", element.position)
            parts += (
                encode_head(_PIXEL_DATA, element.vr or b"OW", element.length, EXPLICIT),
                file[element.start : element.end],
            )
        else:
            parts += recoder.element(element, encoding, scope)
    return b"".join(parts)


def _value(file: bytes, found: list[ElementSpan], tag: int) -> bytes:
    return next((file[each.start : each.end] for each in found if each.tag == tag), b"")
