"""Colours of decoded frames: RGB, or what a data set says of them (PS3.3 C.7.6.3.1.2)."""

from typing import Final

import numpy as np

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.errors import NotPossible
from osteon.dicom.pixels.native import Decoded, Frame
from osteon.dicom.pixels.palette import read_palette

_Triple = tuple[float, float, float]
GREY: Final = frozenset(("MONOCHROME1", "MONOCHROME2"))
_FULL: Final = (1.0, (0.0, -0.344136, 1.772), (1.402, -0.714136, 0.0))
"""What Y, CB and CR add to red, green and blue (ITU-T T.871); Y adds to each the same."""
_PARTIAL: Final = (1.164384, (0.0, -0.391762, 2.017232), (1.596027, -0.812968, 0.0))
"""The same for Y of 16 to 235 and chrominance of 16 to 240 (ITU-R BT.601)."""
_ONE: Final = 1 << 16
_TO_YBR: Final = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Shares of red, green and blue in Y, CB and CR (ITU-T T.871)."""


def to_rgb(decoded: Decoded, attributes: Attributes, bits: int) -> Frame:
    """Return (rows, columns, 3) of uint8 or uint16, of that type's full range, of a frame that is not grey.

    `bits` are those stored of a sample.

    Raises `NotPossible` for grey frames and for photometric interpretations that are retired and no longer known,
    `PixelError` when a palette is missing or invalid.
    """
    if decoded.photometric == "PALETTE COLOR":
        return read_palette(attributes).apply(decoded.frame)
    if decoded.frame.shape[2] != 3 or decoded.photometric in GREY:
        raise NotPossible(
            f"Photometric Interpretation (0028,0004) {decoded.photometric or 'missing'} is not of colours"
        )
    frame = _full_range(decoded.frame, bits)
    return _red_green_blue(frame, decoded.photometric, frame.dtype.itemsize * 8)


def as_labelled(decoded: Decoded, label: str, bits: int) -> Frame:
    """Return the samples that a data set with the Photometric Interpretation `label` has without compression.

    YBR_FULL is kept or made. All else is RGB: what a bit stream is called for its own transform (YBR_RCT, YBR_ICT) or
    for its subsampling (YBR_FULL_422) is neither any more, and clients take three whole samples under such a name as
    RGB. `bits` are those stored of a sample. Grey frames, palettes and colours that are not known stay.
    """
    known = decoded.photometric in ("RGB", "YBR_FULL") or decoded.photometric.startswith("YBR_PARTIAL")
    if decoded.frame.shape[2] != 3 or not known or decoded.photometric == label == "YBR_FULL":
        return decoded.frame
    frame = _red_green_blue(decoded.frame, decoded.photometric, bits)
    return _luminance_chrominance(frame, bits) if label == "YBR_FULL" else frame


def _red_green_blue(frame: Frame, photometric: str, bits: int) -> Frame:
    if photometric == "RGB":
        return frame
    if photometric == "YBR_FULL":
        return _converted(frame, _FULL, 0, bits)
    if photometric.startswith("YBR_PARTIAL"):
        return _converted(frame, _PARTIAL, 16, bits)
    raise NotPossible(f"Photometric Interpretation (0028,0004) {photometric} is not known")


def _luminance_chrominance(frame: Frame, bits: int) -> Frame:
    values: Frame = frame @ np.array(_TO_YBR).T
    values[..., 1:] += 1 << bits - 1
    return np.clip(np.rint(values), 0, (1 << bits) - 1).astype(frame.dtype)


def _full_range(frame: Frame, bits: int) -> Frame:
    """Stretch `bits` bits to 8 or 16."""
    wanted = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    size = wanted.itemsize * 8
    if bits > size:
        frame = frame >> (bits - size)
    elif bits < size:
        frame = frame.astype(np.uint32) * ((1 << size) - 1) // ((1 << bits) - 1)
    stretched: Frame = np.asarray(frame, wanted)
    return stretched


def _converted(frame: Frame, factors: tuple[float, _Triple, _Triple], black: int, bits: int) -> Frame:
    """Convert in fixed point, which is twice as fast as in floating point and off by one at most."""
    words: Frame = frame.astype(np.int32 if bits <= 8 else np.int64)
    luma, blue, red = factors
    # Black is that of 8 bits.
    grey: Frame = (words[..., 0] - (black << bits >> 8)) * round(luma * _ONE) + _ONE // 2
    chrominance: Frame = words[..., 1:] - (1 << bits - 1)
    rgb = np.empty_like(frame)
    for colour in range(3):
        values: Frame = grey + chrominance[..., 0] * round(blue[colour] * _ONE) if blue[colour] else grey.copy()
        if red[colour]:
            values += chrominance[..., 1] * round(red[colour] * _ONE)
        values >>= 16
        rgb[..., colour] = np.clip(values, 0, (1 << bits) - 1, out=values)
    return rgb
