"""Decodes single frames of every family in the registry. Only the workers of `imaging` import this.

Frames are arrays of (rows, columns, samples): see `osteon.dicom.pixels.native`.
"""

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import imagecodecs
import numpy as np

from osteon.dicom.errors import BadDataSet
from osteon.dicom.pixels import rle
from osteon.dicom.pixels.bitstream_header import BitstreamHeader, read_jpeg, read_jpeg_2000, read_jpeg_xl
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.pixels.native import (
    Decoded,
    Frame,
    as_container,
    decode_uncompressed,
    frame_type,
    sign_extended,
    untransformed,
)
from osteon.dicom.pixels.registry import DEPTHS, UNCOMPRESSED, Codec, Family

_OTHER_PIXELS: Final = 1 << 24
"""Pixels of a bit stream that may be larger than Rows and Columns say."""


def decode(codec: Codec, data: bytes, geometry: Geometry, *, rgb: bool = False) -> Decoded:
    """Decode one frame; raises `PixelError` when it is damaged or not what `geometry`, checked already, says.

    `rgb`: to colours that can be shown, where the decoder does that as well; otherwise samples are those of the file.
    """
    try:
        if codec.family is Family.JPEG:
            decoded = _decode_jpeg(data, geometry, rgb=rgb)
        else:
            decoded = _DECODERS[codec.family](data, geometry)
    except (PixelError, MemoryError):
        raise
    except (BadDataSet, RuntimeError, ValueError, TypeError, IndexError, zlib.error) as error:
        raise PixelError(f"{codec.family} bit stream: {error}") from None
    shape = (geometry.rows, geometry.columns, geometry.samples)
    if decoded.frame.shape != shape:
        decoded = _fitted(decoded, shape, codec.family)
    if geometry.signed and codec.family not in UNCOMPRESSED:
        return replace(decoded, frame=sign_extended(decoded.frame, geometry))
    return decoded


def _fitted(decoded: Decoded, shape: tuple[int, int, int], family: Family) -> Decoded:
    """Cut what the attributes have no rows and columns for, and add those that the bit stream lacks."""
    rows, columns, samples = decoded.frame.shape
    if samples != shape[2]:
        raise PixelError(f"{family} bit stream: {samples} samples per pixel, expected {shape[2]}")
    part = decoded.frame[: shape[0], : shape[1]]
    frame = np.zeros(shape, part.dtype)
    frame[: part.shape[0], : part.shape[1]] = part
    problem = f"the bit stream has {rows} x {columns} pixels, not {shape[0]} x {shape[1]}"
    return replace(decoded, frame=frame, problem=problem, faithful=False)


def _decode_deflated(data: bytes, geometry: Geometry) -> Decoded:
    needed = (geometry.frame_bits + 7) // 8
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, needed + 1)
    return decode_uncompressed(inflated, geometry)


def _decode_rle(data: bytes, geometry: Geometry) -> Decoded:
    found = rle.decode(data, geometry)
    frame = np.empty((geometry.rows, geometry.columns, geometry.samples), frame_type(geometry))
    octets = frame.view(np.uint8).reshape(*frame.shape, -1)
    octets[...] = found.planes.transpose(2, 3, 0, 1)[..., ::-1]
    return Decoded(frame, untransformed(geometry.photometric), problem=found.problem, faithful=found.complete)


def _decode_jpeg(data: bytes, geometry: Geometry, *, rgb: bool) -> Decoded:
    head = read_jpeg(data)
    _compare(head, geometry, Family.JPEG)
    if head.samples == 1:
        return _decoded(imagecodecs.jpeg8_decode(data), head, geometry, geometry.photometric)
    space = _jpeg_colours(head, geometry.photometric)
    shown = "rgb" if rgb else space
    values = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=shown)
    return _decoded(values, head, geometry, "RGB" if shown == "rgb" else "YBR_FULL")


def _jpeg_colours(head: BitstreamHeader, photometric: str) -> str:
    """Believe the bit stream before the attribute: that is what wrote the samples."""
    if head.transform >= 0:
        return "ycbcr" if head.transform else "rgb"
    if head.jfif:
        return "ycbcr"
    if head.rgb_ids:
        return "rgb"
    # Nobody subsamples red, green and blue.
    return "rgb" if photometric == "RGB" and not head.subsampled else "ycbcr"


def _decode_jpeg_lossless(data: bytes, geometry: Geometry) -> Decoded:
    head = read_jpeg(data)
    _compare(head, geometry, Family.JPEG_LOSSLESS)
    space = "rgb" if head.samples == 3 else None
    values = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)
    return _decoded(values, head, geometry, untransformed(geometry.photometric))


def _decode_jpeg_ls(data: bytes, geometry: Geometry) -> Decoded:
    head = read_jpeg(data)
    _compare(head, geometry, Family.JPEG_LS)
    return _decoded(imagecodecs.jpegls_decode(data), head, geometry, untransformed(geometry.photometric))


def _decode_jpeg_2000(data: bytes, geometry: Geometry) -> Decoded:
    head, photometric = _wavelets(data, geometry, Family.JPEG_2000)
    return _decoded(imagecodecs.jpeg2k_decode(data, numthreads=1), head, geometry, photometric)


def _decode_htj2k(data: bytes, geometry: Geometry) -> Decoded:
    head, photometric = _wavelets(data, geometry, Family.HTJ2K)
    return _decoded(imagecodecs.htj2k_decode(data), head, geometry, photometric)


def _wavelets(data: bytes, geometry: Geometry, family: Family) -> tuple[BitstreamHeader, str]:
    """Return the header and the colours: RGB where the transform of three components is undone, whatever the label."""
    head = read_jpeg_2000(data)
    _compare(head, geometry, family)
    transformed = head.multi_component and head.samples == 3
    return head, "RGB" if transformed else untransformed(geometry.photometric)


def _decode_jpeg_xl(data: bytes, geometry: Geometry) -> Decoded:
    size = read_jpeg_xl(data)
    _check_size(size, geometry)
    shape = (*size, geometry.samples)
    out = np.empty(shape if geometry.samples > 1 else shape[:2], frame_type(geometry))
    values = imagecodecs.jpegxl_decode(data, keeporientation=True, numthreads=1, out=out)
    return Decoded(values.reshape(shape), "RGB" if geometry.samples == 3 else geometry.photometric)


def _check_size(size: tuple[int, int], geometry: Geometry) -> None:
    """Refuse a bit stream that is much larger than it should be before its decoder allocates memory for it."""
    if size[0] * size[1] > max(geometry.pixels, _OTHER_PIXELS):
        raise PixelError(f"the bit stream has {size[0]} x {size[1]} pixels, not {geometry.rows} x {geometry.columns}")


def _compare(head: BitstreamHeader, geometry: Geometry, family: Family) -> None:
    _check_size((head.rows, head.columns), geometry)
    if head.samples != geometry.samples:
        raise PixelError(f"the bit stream has {head.samples} samples per pixel, not {geometry.samples}")
    if head.precision not in DEPTHS[family]:
        raise PixelError(f"the bit stream has samples of {head.precision} bits, which are not decoded")
    if head.precision > geometry.bits_allocated:
        raise PixelError(f"the bit stream has {head.precision} bits, more than the {geometry.bits_allocated} allocated")


def _decoded(values: Frame, head: BitstreamHeader, geometry: Geometry, photometric: str) -> Decoded:
    if values.ndim == 2:
        values = values[:, :, None]
    frame = as_container(values, geometry, precision=head.precision, signed=head.signed)
    return Decoded(frame, photometric, head.precision)


_DECODERS: Final[dict[Family, Callable[[bytes, Geometry], Decoded]]] = {
    Family.NATIVE: decode_uncompressed,
    Family.ENCAPSULATED: decode_uncompressed,
    Family.DEFLATED: _decode_deflated,
    Family.RLE: _decode_rle,
    Family.JPEG_LOSSLESS: _decode_jpeg_lossless,
    Family.JPEG_LS: _decode_jpeg_ls,
    Family.JPEG_2000: _decode_jpeg_2000,
    Family.HTJ2K: _decode_htj2k,
    Family.JPEG_XL: _decode_jpeg_xl,
}
