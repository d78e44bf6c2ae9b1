"""Decodes and encodes single frames of every family in the registry. Only the workers of `imaging` import this.

Frames are arrays of (rows, columns, samples): see `osteon.dicom.pixels.native`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np

from osteon.dicom.errors import BadDataSet
from osteon.dicom.pixels import rle
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.pixels.native import Frame, as_container, frame_type, from_native, to_native
from osteon.dicom.pixels.registry import DEPTHS, Codec, Family
from osteon.dicom.pixels.stream import StreamHead, read_jpeg, read_jpeg_2000, read_jpeg_xl


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame and the photometric interpretation of its samples.

    Attributes:
        precision: bits of a sample in the bit stream; 0: words as they are.
    """

    frame: Frame
    photometric: str
    precision: int = 0


@dataclass(frozen=True, slots=True)
class _Work:
    """A frame to encode; `quality` is None without loss."""

    frame: Frame
    geometry: Geometry
    photometric: str
    quality: int | None


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
        raise PixelError(f"{codec.family} bit stream: shape {decoded.frame.shape}, expected {shape}")
    return decoded


def encode(codec: Codec, frame: Frame, geometry: Geometry, photometric: str, *, quality: int | None = None) -> bytes:
    """Encode one frame that the encoder accepts; without loss unless `quality` (1 to 100) is given.

    Raises `PixelError` when the codec refuses it nevertheless. The length is even.
    """
    try:
        data = _ENCODERS[codec.family](_Work(frame, geometry, photometric, quality))
    except (RuntimeError, ValueError) as error:
        raise PixelError(f"{codec.family} encoder: {error}") from None
    return data + b"\0" if len(data) % 2 else data


def _decode_uncompressed(data: bytes, geometry: Geometry) -> Decoded:
    needed = (geometry.frame_bits + 7) // 8
    if len(data) < needed:
        raise PixelError(f"{len(data)} bytes where a frame has {needed}")
    return Decoded(from_native(data, geometry), _full(geometry.photometric))


def _decode_deflated(data: bytes, geometry: Geometry) -> Decoded:
    needed = (geometry.frame_bits + 7) // 8
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, needed + 1)
    return _decode_uncompressed(inflated, geometry)


def _decode_rle(data: bytes, geometry: Geometry) -> Decoded:
    planes = rle.decode(data, geometry)
    frame = np.empty((geometry.rows, geometry.columns, geometry.samples), frame_type(geometry))
    octets = frame.view(np.uint8).reshape(*frame.shape, -1)
    octets[...] = planes.transpose(2, 3, 0, 1)[..., ::-1]
    return Decoded(frame, _full(geometry.photometric))


def _decode_jpeg(data: bytes, geometry: Geometry, *, rgb: bool) -> Decoded:
    head = read_jpeg(data)
    _compare(head, geometry, Family.JPEG)
    if head.samples == 1:
        return _decoded(imagecodecs.jpeg8_decode(data), head, geometry, geometry.photometric)
    space = _jpeg_colours(head, geometry.photometric)
    shown = "rgb" if rgb else space
    values = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=shown)
    return _decoded(values, head, geometry, "RGB" if shown == "rgb" else "YBR_FULL")


def _jpeg_colours(head: StreamHead, photometric: str) -> str:
    """Believe the bit stream before the attribute: that is what wrote the samples."""
    if head.transform >= 0:
        return "ycbcr" if head.transform else "rgb"
    if head.jfif:
        return "ycbcr"
    return "rgb" if head.rgb_ids or photometric == "RGB" else "ycbcr"


def _decode_jpeg_lossless(data: bytes, geometry: Geometry) -> Decoded:
    head = read_jpeg(data)
    _compare(head, geometry, Family.JPEG_LOSSLESS)
    space = "rgb" if head.samples == 3 else None
    values = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)
    return _decoded(values, head, geometry, _full(geometry.photometric))


def _decode_jpeg_ls(data: bytes, geometry: Geometry) -> Decoded:
    head = read_jpeg(data)
    _compare(head, geometry, Family.JPEG_LS)
    return _decoded(imagecodecs.jpegls_decode(data), head, geometry, _full(geometry.photometric))


def _decode_jpeg_2000(data: bytes, geometry: Geometry) -> Decoded:
    head = read_jpeg_2000(data)
    _compare(head, geometry, Family.JPEG_2000)
    return _decoded(imagecodecs.jpeg2k_decode(data, numthreads=1), head, geometry, _full(geometry.photometric))


def _decode_htj2k(data: bytes, geometry: Geometry) -> Decoded:
    head = read_jpeg_2000(data)
    _compare(head, geometry, Family.HTJ2K)
    return _decoded(imagecodecs.htj2k_decode(data), head, geometry, _full(geometry.photometric))


def _decode_jpeg_xl(data: bytes, geometry: Geometry) -> Decoded:
    _same_size(read_jpeg_xl(data), geometry)
    shape = (geometry.rows, geometry.columns, geometry.samples)
    out = np.empty(shape if geometry.samples > 1 else shape[:2], frame_type(geometry))
    values = imagecodecs.jpegxl_decode(data, keeporientation=True, numthreads=1, out=out)
    return Decoded(values.reshape(shape), "RGB" if geometry.samples == 3 else geometry.photometric)


def _same_size(size: tuple[int, int], geometry: Geometry) -> None:
    """Refuse a bit stream of another size before its decoder allocates memory for it."""
    if size != (geometry.rows, geometry.columns):
        raise PixelError(f"the bit stream has {size[0]} x {size[1]} pixels, not {geometry.rows} x {geometry.columns}")


def _compare(head: StreamHead, geometry: Geometry, family: Family) -> None:
    _same_size((head.rows, head.columns), geometry)
    if head.samples != geometry.samples:
        raise PixelError(f"the bit stream has {head.samples} samples per pixel, not {geometry.samples}")
    if head.precision not in DEPTHS[family]:
        raise PixelError(f"the bit stream has samples of {head.precision} bits, which are not decoded")
    if head.precision > geometry.bits_allocated:
        raise PixelError(f"the bit stream has {head.precision} bits, more than the {geometry.bits_allocated} allocated")


def _decoded(values: Frame, head: StreamHead, geometry: Geometry, photometric: str) -> Decoded:
    if values.ndim == 2:
        values = values[:, :, None]
    frame = as_container(values, geometry, precision=head.precision, signed=head.signed)
    return Decoded(frame, photometric, head.precision)


def _full(photometric: str) -> str:
    """Decoders of JPEG 2000 undo its transforms themselves; elsewhere their names are left over from there."""
    return {"YBR_FULL_422": "YBR_FULL", "YBR_RCT": "RGB", "YBR_ICT": "RGB"}.get(photometric, photometric)


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
    return bytes(
        imagecodecs.jpeg2k_encode(
            _squeezed(work.frame),
            0 if work.quality is None else _decibels(work.quality),
            codecformat="j2k",
            reversible=work.quality is None,
            mct=work.photometric == "RGB",
            bitspersample=bits,
            numthreads=1,
        )
    )


def _decibels(quality: int) -> int:
    """Map 1 to 100 to the peak signal-to-noise ratio that OpenJPEG aims at: 90 gives 52 dB, hard to tell apart."""
    return round(25 + 0.3 * quality)


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


_DECODERS: Final[dict[Family, Callable[[bytes, Geometry], Decoded]]] = {
    Family.NATIVE: _decode_uncompressed,
    Family.ENCAPSULATED: _decode_uncompressed,
    Family.DEFLATED: _decode_deflated,
    Family.RLE: _decode_rle,
    Family.JPEG_LOSSLESS: _decode_jpeg_lossless,
    Family.JPEG_LS: _decode_jpeg_ls,
    Family.JPEG_2000: _decode_jpeg_2000,
    Family.HTJ2K: _decode_htj2k,
    Family.JPEG_XL: _decode_jpeg_xl,
}
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
