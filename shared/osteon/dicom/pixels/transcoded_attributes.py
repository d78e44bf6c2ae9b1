"""The attributes that transcoding changes (PS3.3 C.7.6.1.1.5, C.7.6.3.1, PS3.5 section 8.2)."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from osteon.dicom.encoding import EXPLICIT
from osteon.dicom.pixels.frame_reader import EXTENDED_OFFSETS
from osteon.dicom.pixels.geometry import PHOTOMETRIC, PLANAR
from osteon.dicom.pixels.registry import Codec, Family
from osteon.dicom.pixels.source import EXTENDED_LENGTHS, PixelSource
from osteon.dicom.reencode import encode_element

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
IMAGE_TYPE: Final = 0x00080008
DERIVATION: Final = 0x00082111
SOURCE_IMAGES: Final = 0x00082112
DERIVATION_CODES: Final = 0x00089215
LOSSY: Final = 0x00282110
LOSSY_RATIO: Final = 0x00282112
LOSSY_METHOD: Final = 0x00282114
RATIO_LENGTH: Final = 16
"""Of a DS value: space for the ratio, which is known only when all frames are compressed."""
_METHODS: Final = {Family.JPEG: "ISO_10918_1", Family.JPEG_2000: "ISO_15444_1"}
_NAMESPACE: Final = uuid.UUID("b47d7a2d-8f1c-4c5b-9a53-0c1f7d6f2a11")


@dataclass(slots=True)
class AttributeChanges:
    """Elements that take the place of others or come new: tag → (VR, value in little endian); and those that go."""

    values: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    def text(self, tag: int, vr: bytes, text: str) -> None:
        """Set a value of characters, of even length."""
        value = text.encode("latin-1")
        padding = b"\0" if vr == b"UI" else b" "
        self.values[tag] = (vr, value + padding if len(value) % 2 else value)


def layout(changes: AttributeChanges, photometric: str, *, samples: int) -> None:
    """Say how the new frames are laid out: samples pixel by pixel."""
    changes.text(PHOTOMETRIC, b"CS", photometric)
    if samples > 1:
        changes.values[PLANAR] = (b"US", b"\0\0")
    else:
        changes.removed.add(PLANAR)
    changes.removed |= {EXTENDED_OFFSETS, EXTENDED_LENGTHS}


def mark_lossy(changes: AttributeChanges) -> None:
    """Say that pixels once lost information, which a lossless transfer syntax does not show (C.7.6.1.1.5)."""
    changes.text(LOSSY, b"CS", "01")


def describe_lossy(changes: AttributeChanges, source: PixelSource, codec: Codec, quality: int) -> str:
    """Make another instance of it, which says what it was made of and how; return its SOP Instance UID.

    The same request gives the same UID. The last value of (0028,2112) is left blank.
    """
    original = _text(source, SOP_INSTANCE) or source.meta.sop_instance_uid
    derived = f"2.25.{uuid.uuid5(_NAMESPACE, f'{original} {codec.uid} {quality}').int}"
    changes.text(SOP_INSTANCE, b"UI", derived)
    changes.text(
        IMAGE_TYPE, b"CS", "\\".join(("DERIVED", *(_text(source, IMAGE_TYPE).split("\\")[1:] or ["SECONDARY"])))
    )
    changes.text(DERIVATION, b"ST", f"Lossy compression: {codec.name}, quality {quality}")
    purpose = b"" if _text(source, LOSSY) == "01" else _UNCOMPRESSED_PREDECESSOR
    changes.values[SOURCE_IMAGES] = (b"SQ", _reference(_text(source, SOP_CLASS), original, purpose=purpose))
    if source.find(DERIVATION_CODES) is None:
        changes.values[DERIVATION_CODES] = (b"SQ", _LOSSY_COMPRESSION)
    mark_lossy(changes)
    ratios = _appended(source, LOSSY_RATIO, " " * RATIO_LENGTH)
    # The space that is filled in later must be the end of the value, so what makes it even comes first.
    changes.text(LOSSY_RATIO, b"DS", " " * (len(ratios) % 2) + ratios)
    changes.text(LOSSY_METHOD, b"CS", _appended(source, LOSSY_METHOD, _METHODS[codec.family]))
    return derived


def _appended(source: PixelSource, tag: int, text: str) -> str:
    before = _text(source, tag)
    return f"{before}\\{text}" if before else text


def _reference(sop_class: str, sop_instance: str, *, purpose: bytes) -> bytes:
    """Return one item of a Source Image Sequence: which instance, and for what, unless that is empty."""
    elements = [_element(0x00081150, b"UI", sop_class), _element(0x00081155, b"UI", sop_instance)]
    return _item(*elements, _element(0x0040A170, b"SQ", purpose) if purpose else b"")


def _code(value: str, meaning: str) -> bytes:
    """Return one item of a code sequence (PS3.3 table 8.8-1)."""
    scheme = _element(0x00080102, b"SH", "DCM")
    return _item(_element(0x00080100, b"SH", value), scheme, _element(0x00080104, b"LO", meaning))


def _element(tag: int, vr: bytes, value: str | bytes) -> bytes:
    if isinstance(value, str):
        value = value.encode() + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return encode_element(tag, vr, value, EXPLICIT)


def _item(*elements: bytes) -> bytes:
    """Return an item in explicit VR little endian: lossy targets are never in another encoding."""
    body = b"".join(elements)
    return EXPLICIT.item.pack(0xFFFE, 0xE000, len(body)) + body


_LOSSY_COMPRESSION: Final = _code("113040", "Lossy Compression")
_UNCOMPRESSED_PREDECESSOR: Final = _code("121320", "Uncompressed predecessor")


def _text(source: PixelSource, tag: int) -> str:
    return source.value(tag).decode("latin-1").strip(" \0")


def merge_tags(present: Mapping[int, object], changes: AttributeChanges) -> list[int]:
    """Return the tags that come new, in order."""
    return sorted(tag for tag in changes.values if tag not in present)
