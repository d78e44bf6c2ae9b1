"""Which transfer syntaxes can be decoded and encoded, and within which bounds (PS3.5 annex A, tables 8.2.x).

The table is the documentation (docs/transfer-syntaxes.md is made from it) and imports no codec: every service may ask
it what is possible; only `imaging` imports `osteon.dicom.pixels.codecs` and `encoders`, which do it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    GE_BIG_ENDIAN_PIXELS,
    IMPLICIT_VR_LITTLE_ENDIAN,
    RLE_LOSSLESS,
    TRANSFER_SYNTAXES,
)


class Family(StrEnum):
    """The bit streams that a codec reads or writes."""

    NATIVE = "native"
    ENCAPSULATED = "uncompressed fragments"
    DEFLATED = "deflated frames"
    RLE = "RLE"
    JPEG = "JPEG, DCT"
    JPEG_LOSSLESS = "JPEG, lossless"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    HTJ2K = "HTJ2K"
    JPEG_XL = "JPEG XL"


UNCOMPRESSED: Final = frozenset((Family.NATIVE, Family.ENCAPSULATED, Family.DEFLATED))
"""Those whose frames are native pixel data, deflated or not."""


DEPTHS: Final[Mapping[Family, Sequence[int]]] = MappingProxyType(
    {
        Family.NATIVE: range(1, 65),
        Family.ENCAPSULATED: range(1, 65),
        Family.DEFLATED: range(1, 65),
        Family.RLE: (8, 16, 32, 64),
        Family.JPEG: (8, 12),
        Family.JPEG_LOSSLESS: range(2, 17),
        Family.JPEG_LS: range(2, 17),
        Family.JPEG_2000: range(1, 23),
        Family.HTJ2K: range(1, 33),
        Family.JPEG_XL: range(1, 17),
    }
)
"""Bits that samples may have in the bit streams of a family: OpenJPEG is exact up to 22 or 23."""

_SAME: Final = {name: name for name in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")}
_ANY: Final[Mapping[str, str]] = MappingProxyType(_SAME)
_RCT: Final[Mapping[str, str]] = MappingProxyType({**_SAME, "RGB": "YBR_RCT"})
_GREY_OR_RGB: Final[Mapping[str, str]] = MappingProxyType({k: k for k in _SAME if k != "YBR_FULL"})
_ICT: Final[Mapping[str, str]] = MappingProxyType(
    {"MONOCHROME1": "MONOCHROME1", "MONOCHROME2": "MONOCHROME2", "RGB": "YBR_ICT", "YBR_FULL": "YBR_FULL"}
)
_JPEG: Final[Mapping[str, str]] = MappingProxyType(
    {"MONOCHROME1": "MONOCHROME1", "MONOCHROME2": "MONOCHROME2", "RGB": "YBR_FULL_422", "YBR_FULL": "YBR_FULL_422"}
)


@dataclass(frozen=True, slots=True)
class Encoder:
    """What an encoder takes. `photometrics`: of the frame → of the bit stream; a frame of another one is refused."""

    photometrics: Mapping[str, str]
    allocated: tuple[int, ...] = (8, 16)
    most_stored: int = 16
    samples: tuple[int, ...] = (1, 3)
    signed: bool = True

    def refuses(self, geometry: Geometry, photometric: str) -> str:
        """Return why frames of this kind cannot be encoded; empty when they can."""
        if geometry.bits_allocated not in self.allocated or geometry.bits_stored > self.most_stored:
            return f"{geometry.bits_stored} bits stored of {geometry.bits_allocated} allocated"
        if geometry.samples not in self.samples:
            return f"{geometry.samples} samples per pixel"
        if geometry.signed and not self.signed:
            return "signed pixels"
        anything = self.photometrics is ANYTHING and not photometric.startswith("YBR_PARTIAL")
        if not anything and photometric not in self.photometrics:
            return f"photometric interpretation {photometric or 'missing'}"
        return ""


ANYTHING: Final[Mapping[str, str]] = MappingProxyType({})
"""Of encoders that ignore colours: all but those that have no name at full resolution."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One transfer syntax: how it is decoded, and encoded without loss or with; None: not by Osteon."""

    uid: str
    family: Family
    lossless: Encoder | None = None
    lossy: Encoder | None = None
    rewraps: tuple[str, ...] = ()
    """Other transfer syntaxes whose bit streams are valid in this one as they are."""
    only: str = ""
    """Which bit streams can be decoded, where not all can."""

    @property
    def name(self) -> str:
        """Name in the registry of UIDs (PS3.6 Annex A)."""
        return TRANSFER_SYNTAXES[self.uid].name


_NATIVE = Encoder(ANYTHING, (1, 8, 16, 32, 64), 64, (1, 2, 3, 4))
_BYTES = Encoder(ANYTHING, (8, 16, 32, 64), 64, (1, 3))
_JPEG_LOSSLESS = Encoder(_ANY)
_J2K_LOSSLESS = Encoder(_RCT, (8, 16, 32), 22)
_HTJ2K_LOSSLESS = Encoder(_RCT, (8, 16, 32), 32)
_JPEG_XL_LOSSLESS = Encoder(_GREY_OR_RGB, signed=False)
_J2K_LOSSY = Encoder(_ICT, signed=False)


def _native(uid: str) -> Codec:
    return Codec(uid, Family.NATIVE, _NATIVE)


def _of(
    number: str,
    family: Family,
    lossless: Encoder | None = None,
    lossy: Encoder | None = None,
    *,
    rewraps: tuple[str, ...] = (),
    only: str = "",
) -> Codec:
    return Codec(_uid(number), family, lossless, lossy, tuple(map(_uid, rewraps)), only)


def _uid(number: str) -> str:
    return f"1.2.840.10008.1.2.{number}"


_PART_1: Final = "a bit stream for each frame, without the component transforms of part 2"

CODECS: Final[dict[str, Codec]] = {
    codec.uid: codec
    for codec in (
        _native(EXPLICIT_VR_LITTLE_ENDIAN),
        _native(IMPLICIT_VR_LITTLE_ENDIAN),
        _native(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        _native(EXPLICIT_VR_BIG_ENDIAN),
        Codec(GE_BIG_ENDIAN_PIXELS, Family.NATIVE),
        _of("1.98", Family.ENCAPSULATED, _NATIVE),
        _of("8.1", Family.DEFLATED, _NATIVE),
        Codec(RLE_LOSSLESS, Family.RLE, Encoder(_ANY, (8, 16, 32), 32)),
        _of("4.50", Family.JPEG, None, Encoder(_JPEG, (8,), 8, signed=False)),
        _of("4.51", Family.JPEG, rewraps=("4.50",)),
        *(_of(number, Family.JPEG) for number in ("4.52", "4.53", "4.54", "4.55", "4.56")),
        _of("4.57", Family.JPEG_LOSSLESS, _JPEG_LOSSLESS, rewraps=("4.70",)),
        _of("4.70", Family.JPEG_LOSSLESS, _JPEG_LOSSLESS),
        _of("4.80", Family.JPEG_LS, Encoder(_ANY)),
        _of("4.81", Family.JPEG_LS, Encoder(_ANY), rewraps=("4.80",)),
        _of("4.90", Family.JPEG_2000, _J2K_LOSSLESS),
        _of("4.91", Family.JPEG_2000, _J2K_LOSSLESS, _J2K_LOSSY, rewraps=("4.90",)),
        _of("4.92", Family.JPEG_2000, only=_PART_1),
        _of("4.93", Family.JPEG_2000, only=_PART_1),
        _of("4.201", Family.HTJ2K, _HTJ2K_LOSSLESS, rewraps=("4.202",)),
        _of("4.202", Family.HTJ2K, _HTJ2K_LOSSLESS),
        _of("4.203", Family.HTJ2K, _HTJ2K_LOSSLESS, rewraps=("4.201", "4.202")),
        _of("4.110", Family.JPEG_XL, _JPEG_XL_LOSSLESS),
        _of("4.111", Family.JPEG_XL),
        _of("4.112", Family.JPEG_XL, _JPEG_XL_LOSSLESS, rewraps=("4.110", "4.111")),
    )
}
"""Transfer syntax UID → codec. What is not here is passed on as it is, or refused."""
