"""The attributes that say how pixel data is laid out (PS3.3 C.7.6.3, PS3.5 8.1), checked before any decoding."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from osteon.dicom.frames import number_of_frames
from osteon.dicom.pixels.errors import PixelError

ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
SAMPLES: Final = 0x00280002
PHOTOMETRIC: Final = 0x00280004
PLANAR: Final = 0x00280006
FRAMES: Final = 0x00280008
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
SIGNED: Final = 0x00280103


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLimits:
    """How large pixel data may be.

    Attributes:
        frame_bytes: of one frame, decoded.
        frames: of one instance.
        inflated_bytes: of a deflated data set, or of a deflated frame.
    """

    frame_bytes: int = 1 << 29
    frames: int = 1 << 19
    inflated_bytes: int = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Layout of the frames of one instance. Sizes in pixels and bits; `planar`: a plane of samples after the other."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    samples: int = 1
    photometric: str = "MONOCHROME2"
    frames: int = 1
    signed: bool = False
    planar: bool = False
    high_bit: int | None = None
    floating: bool = False

    @classmethod
    def from_values(cls, values: Mapping[int, int | str], *, floating: bool = False) -> "Geometry":
        """Take values by tag; raises `PixelError` naming an attribute that is missing or invalid."""
        allocated = _number(values, BITS_ALLOCATED, "Bits Allocated")
        high_bit = values.get(HIGH_BIT)
        return cls(
            high_bit=high_bit if isinstance(high_bit, int) else None,
            floating=floating,
            rows=_number(values, ROWS, "Rows"),
            columns=_number(values, COLUMNS, "Columns"),
            bits_allocated=allocated,
            bits_stored=_number(values, BITS_STORED, "Bits Stored", allocated),
            samples=_number(values, SAMPLES, "Samples per Pixel", 1),
            photometric=str(values.get(PHOTOMETRIC, "")).strip(" \0"),
            frames=number_of_frames(values.get(FRAMES)),
            signed=values.get(SIGNED) == 1,
            planar=values.get(PLANAR) == 1,
        )

    @property
    def subsampled(self) -> bool:
        """Whether native frames have two luminance samples for one pair of chrominance samples (C.7.6.3.1.2)."""
        return self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422")

    @property
    def shift(self) -> int:
        """Bits below those stored in a word: none except in images of before DICOM (PS3.5 8.1.1)."""
        if self.high_bit is None or not self.bits_stored <= self.high_bit + 1 <= self.bits_allocated:
            return 0
        return self.high_bit + 1 - self.bits_stored

    @property
    def pixels(self) -> int:
        """Number of pixels of one frame (Rows x Columns)."""
        return self.rows * self.columns

    @property
    def word_bytes(self) -> int:
        """Bytes of one decoded sample: 1, 2, 4 or 8, and single bits take a byte."""
        return 1 << max(0, (self.bits_allocated - 1).bit_length() - 3)

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; frames and words of odd bits follow each other without padding (PS3.5 8.1.1)."""
        samples = 2 if self.subsampled else self.samples
        return self.pixels * samples * self.bits_allocated

    def of_value(self, length: int) -> "Geometry":
        """Return the layout of a native value of `length` bytes: some writers call colours subsampled that are not."""
        if self.subsampled and length * 8 >= self.pixels * self.samples * self.bits_allocated * self.frames:
            return replace(self, photometric=self.photometric.removesuffix("_422"))
        return self

    def frames_in(self, length: int) -> int:
        """Return how many frames begin in a native value of `length` bytes, of which the last one may be padding.

        Raises `PixelError` when a frame has no size.
        """
        if self.frame_bits <= 0:
            raise PixelError(f"Rows (0028,0010) x Columns (0028,0011) is {self.rows} x {self.columns}")
        begun = max(8 * length // self.frame_bits, -(-8 * (length - 1) // self.frame_bits))
        return min(self.frames, begun)

    def length_problem(self, length: int) -> str:
        """Return how a native value of `length` bytes differs from what its frames need; empty when it does not."""
        needed = (self.frame_bits * self.frames + 7) // 8
        if needed <= length <= needed + 1:
            return ""
        return (
            f"pixel data has {length} bytes, not {needed}: Number of Frames (0028,0008) is {self.frames}, "
            f"Rows x Columns {self.rows} x {self.columns}"
        )

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one decoded frame, chrominance at full resolution."""
        return self.pixels * self.samples * self.word_bytes

    def check(self, limits: PixelLimits) -> None:
        """Raise `PixelError` when the frames cannot be decoded as described, or are too large."""
        allowed = (32, 64) if self.floating else range(1, 65)
        if self.bits_allocated not in allowed:
            wanted = "32 or 64" if self.floating else "1 to 64"
            raise PixelError(f"Bits Allocated (0028,0100) is {self.bits_allocated}, not {wanted}")
        if not 1 <= self.bits_stored <= self.bits_allocated:
            raise PixelError(f"Bits Stored (0028,0101) is {self.bits_stored} of {self.bits_allocated} allocated")
        if not 1 <= self.samples <= 4:
            raise PixelError(f"Samples per Pixel (0028,0002) is {self.samples}, not 1 to 4")
        if not self.pixels:
            raise PixelError(f"Rows (0028,0010) x Columns (0028,0011) is {self.rows} x {self.columns}")
        if self.subsampled and (self.samples != 3 or self.bits_allocated != 8):
            raise PixelError(f"Photometric Interpretation (0028,0004) {self.photometric} needs 3 samples of 8 bits")
        if self.decoded_bytes > limits.frame_bytes:
            raise PixelError(f"a frame of {self.decoded_bytes} bytes is larger than the limit of {limits.frame_bytes}")


def _number(values: Mapping[int, int | str], tag: int, name: str, default: int | None = None) -> int:
    value = values.get(tag)
    if value is None or value == "":
        if default is None:
            raise PixelError(f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing")
        return default
    try:
        return int(value)
    except (ValueError, TypeError):
        raise PixelError(f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X}) is not a number: {str(value)[:40]!r}") from None
