"""The attributes that transcoding changes (PS3.3 C.7.6.1.1.5, C.7.6.3.1, PS3.5 section 8.2)."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from osteon.dicom.encoding import EXPLICIT
from osteon.dicom.pixels.access import EXTENDED_OFFSETS
from osteon.dicom.pixels.geometry import PHOTOMETRIC, PLANAR
from osteon.dicom.pixels.registry import Codec, Family
from osteon.dicom.pixels.source import EXTENDED_LENGTHS, Source
from osteon.dicom.recode import encoded

SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
IMAGE_TYPE: Final = 0x00080008
DERIVATION: Final = 0x00082111
SOURCE_IMAGES: Final = 0x00082112
LOSSY: Final = 0x00282110
LOSSY_RATIO: Final = 0x00282112
LOSSY_METHOD: Final = 0x00282114
RATIO_LENGTH: Final = 16
"""Of a DS value: space for the ratio, which is known only when all frames are compressed."""
_METHODS: Final = {Family.JPEG: "ISO_10918_1", Family.JPEG_2000: "ISO_15444_1"}
_NAMESPACE: Final = uuid.UUID("b47d7a2d-8f1c-4c5b-9a53-0c1f7d6f2a11")


@dataclass(slots=True)
class Changes:
    """Elements that take the place of others or come new: tag → (VR, value in little endian); and those that go."""

    values: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    def text(self, tag: int, vr: bytes, text: str) -> None:
        """Set a value of characters, of even length."""
        value = text.encode("latin-1")
        padding = b"\0" if vr == b"UI" else b" "
        self.values[tag] = (vr, value + padding if len(value) % 2 else value)


def layout(changes: Changes, photometric: str, *, samples: int) -> None:
    """Say how the new frames are laid out: samples pixel by pixel."""
    changes.text(PHOTOMETRIC, b"CS", photometric)
    if samples > 1:
        changes.values[PLANAR] = (b"US", b"\0\0")
    else:
        changes.removed.add(PLANAR)
    changes.removed |= {EXTENDED_OFFSETS, EXTENDED_LENGTHS}


def lossy(changes: Changes, source: Source, codec: Codec, quality: int) -> str:
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
    changes.values[SOURCE_IMAGES] = (b"SQ", _reference(_text(source, SOP_CLASS), original))
    changes.text(LOSSY, b"CS", "01")
    ratios = _appended(source, LOSSY_RATIO, " " * RATIO_LENGTH)
    # The space that is filled in later must be the end of the value, so what makes it even comes first.
    changes.text(LOSSY_RATIO, b"DS", " " * (len(ratios) % 2) + ratios)
    changes.text(LOSSY_METHOD, b"CS", _appended(source, LOSSY_METHOD, _METHODS[codec.family]))
    return derived


def _appended(source: Source, tag: int, text: str) -> str:
    before = _text(source, tag)
    return f"{before}\\{text}" if before else text


def _reference(sop_class: str, sop_instance: str) -> bytes:
    """Return one item of a Source Image Sequence, in explicit VR little endian."""
    body = b"".join(
        encoded(tag, b"UI", uid.encode() + b"\0" * (len(uid) % 2), EXPLICIT)
        for tag, uid in ((0x00081150, sop_class), (0x00081155, sop_instance))
    )
    return EXPLICIT.item.pack(0xFFFE, 0xE000, len(body)) + body


def _text(source: Source, tag: int) -> str:
    return source.value(tag).decode("latin-1").strip(" \0")


def merged(present: Mapping[int, object], changes: Changes) -> list[int]:
    """Return the tags that come new, in order."""
    return sorted(tag for tag in changes.values if tag not in present)
