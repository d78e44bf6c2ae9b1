"""Encodes single frames in every family in the registry that has an encoder. Only the workers of `imaging` import this.

Frames are arrays of (rows, columns, samples): see `osteon.dicom.pixels.native`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np

from osteon.dicom.pixels import rle
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.pixels.native import Frame, to_native
from osteon.dicom.pixels.registry import DEPTHS, Codec, Family


@dataclass(frozen=True, slots=True)
class _Work:
    """A frame to encode; `quality` is None without loss."""

    frame: Frame
    geometry: Geometry
    photometric: str
    quality: int | None


def encode(codec: Codec, frame: Frame, geometry: Geometry, photometric: str, *, quality: int | None = None) -> bytes:
    """Encode one frame that the encoder accepts; without loss unless `quality` (1 to 100) is given.

    Raises `PixelError` when the codec refuses it nevertheless. The length is even.
    """
    try:
        data = _ENCODERS[codec.family](_Work(frame, geometry, photometric, quality))
    except (RuntimeError, ValueError) as error:
        raise PixelError(f"{codec.family} encoder: {error}") from None
    return data + b"\0" if len(data) % 2 else data


def _precision(frame: Frame, geometry: Geometry) -> int:
    """Return Bits Stored, or Bits Allocated where the bits above hold something, as old overlays do (PS3.5 8.1.1)."""
    span = 1 << geometry.bits_stored
    low = -span // 2 if geometry.signed else 0
    fits = low <= int(frame.min()) and int(frame.max()) < low + span
    return geometry.bits_stored if fits else geometry.bits_allocated


def _storable_precision(frame: Frame, geometry: Geometry) -> int:
    """Return `_precision` where a codec takes words of more than 8 bits only."""
    return max(_precision(frame, geometry), 2 if frame.dtype.itemsize == 1 else 9)


def _squeezed(frame: Frame) -> Frame:
    """Codecs want grey frames in two dimensions, and contiguous ones."""
    return np.ascontiguousarray(frame[:, :, 0] if frame.shape[2] == 1 else frame)


def _unsigned(frame: Frame) -> Frame:
    return frame.view(f"<u{frame.dtype.itemsize}")


def _encode_uncompressed(work: _Work) -> bytes:
    return to_native(work.frame, bits=work.geometry.bits_allocated == 1)


def _encode_deflated(work: _Work) -> bytes:
    deflater = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    return deflater.compress(_encode_uncompressed(work)) + deflater.flush()


def _encode_rle(work: _Work) -> bytes:
    octets = np.ascontiguousarray(work.frame).view(np.uint8).reshape(*work.frame.shape, -1)[..., ::-1]
    planes = octets.transpose(2, 3, 0, 1).reshape(-1, work.geometry.rows, work.geometry.columns)
    return rle.encode(planes)


def _encode_jpeg(work: _Work) -> bytes:
    space = {"RGB": "rgb", "YBR_FULL": "ycbcr"}.get(work.photometric)
    return bytes(
        imagecodecs.jpeg8_encode(
            _squeezed(work.frame),
            work.quality,
            colorspace=space,
            outcolorspace="ycbcr" if space else None,
            subsampling="422" if space else None,
        )
    )


def _encode_jpeg_lossless(work: _Work) -> bytes:
    bits = _storable_precision(work.frame, work.geometry)
    values = _squeezed(_unsigned(work.frame))
    if work.geometry.signed and bits < work.geometry.bits_allocated:
        values = values & values.dtype.type((1 << bits) - 1)
    space = "rgb" if work.frame.shape[2] == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(
            values, lossless=True, predictor=1, bitspersample=bits, colorspace=space, outcolorspace=space
        )
    )


def _encode_jpeg_ls(work: _Work) -> bytes:
    return bytes(imagecodecs.jpegls_encode(_squeezed(_unsigned(work.frame))))


def _encode_jpeg_2000(work: _Work) -> bytes:
    bits = _precision(work.frame, work.geometry)
    if bits not in DEPTHS[Family.JPEG_2000]:
        raise PixelError(f"values of {bits} bits, more than those stored")
    # OpenJPEG aims at a peak signal-to-noise ratio: a quality of 90 gives 52 dB, hardly visible.
    decibels = 0 if work.quality is None else round(25 + 0.3 * work.quality)
    return bytes(
        imagecodecs.jpeg2k_encode(
            _squeezed(work.frame),
            decibels,
            codecformat="j2k",
            reversible=work.quality is None,
            mct=work.photometric == "RGB",
            bitspersample=bits,
            numthreads=1,
        )
    )


def _encode_htj2k(work: _Work) -> bytes:
    """Write RPCL with tile-part lengths, and a lowest resolution of 64 pixels at most: valid in all three syntaxes."""
    levels = max(1, (max(work.frame.shape[:2]) - 1).bit_length() - 6)
    return bytes(
        imagecodecs.htj2k_encode(
            _squeezed(work.frame), reversible=True, rgb=work.photometric == "RGB", resolutions=levels, tlm=True
        )
    )


def _encode_jpeg_xl(work: _Work) -> bytes:
    return bytes(
        imagecodecs.jpegxl_encode(
            _squeezed(work.frame),
            lossless=True,
            effort=3,
            bitspersample=_storable_precision(work.frame, work.geometry),
            numthreads=1,
        )
    )


_ENCODERS: Final[dict[Family, Callable[[_Work], bytes]]] = {
    Family.ENCAPSULATED: _encode_uncompressed,
    Family.DEFLATED: _encode_deflated,
    Family.RLE: _encode_rle,
    Family.JPEG: _encode_jpeg,
    Family.JPEG_LOSSLESS: _encode_jpeg_lossless,
    Family.JPEG_LS: _encode_jpeg_ls,
    Family.JPEG_2000: _encode_jpeg_2000,
    Family.HTJ2K: _encode_htj2k,
    Family.JPEG_XL: _encode_jpeg_xl,
}
