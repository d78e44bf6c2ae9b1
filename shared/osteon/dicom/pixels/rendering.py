"""From a DICOM file to the pictures of its frames (PS3.18 8.3.5, Orthanc's REST). Only workers of `imaging` import it.

One frame is in memory at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from osteon.dicom.pixels import orthanc
from osteon.dicom.pixels.arrays import write_array
from osteon.dicom.pixels.codecs import Decoded
from osteon.dicom.pixels.colour import to_rgb
from osteon.dicom.pixels.errors import BadOrder, NotAnImage, NotPossible
from osteon.dicom.pixels.functional_groups import FRAME_VOI_LUT, of_frame
from osteon.dicom.pixels.geometry import Limits
from osteon.dicom.pixels.gif import frame_time, write_gif
from osteon.dicom.pixels.grey import read_grey_rules
from osteon.dicom.pixels.image import Image
from osteon.dicom.pixels.images import encode_picture
from osteon.dicom.pixels.modality import Rescale, read_rescale
from osteon.dicom.pixels.native import Frame, to_native
from osteon.dicom.pixels.orders import GIF, OCTETS, RenderedFile, RenderOrder, Viewport
from osteon.dicom.pixels.overlays import annotated
from osteon.dicom.pixels.source import Source
from osteon.dicom.pixels.viewport import fitted, pixel_aspect, region, resized
from osteon.dicom.pixels.voi import check_window, read_window

_SOP_CLASS: Final = 0x00080016
_RT_DOSE: Final = "1.2.840.10008.5.1.4.1.1.481.2"

Pixels = NDArray[Any]


def render(
    source_path: Path,
    order: RenderOrder,
    destination_path: Path,
    limits: Limits,
    *,
    before_frame: Callable[[], None] = lambda: None,
) -> RenderedFile:
    """Write what was ordered of the DICOM file at `source_path`; pictures of several frames follow one another.

    Raises `BadOrder`, `NotAnImage`, `NotPossible`, `PixelError`, `BadDataSet`. `before_frame` is called before each
    frame is decoded.
    """
    with Source(source_path, limits) as source:
        _check_image(source)
        image = Image(source, before_frame)
        frames = _frames(order, image.geometry.frames)
        with destination_path.open("wb") as file:
            if order.how == "numpy":
                return _array(image, order, frames, file)
            if order.how == "frames":
                return _written(file, OCTETS, (_native(image, number) for number in frames))
            return _pictures(image, order, frames, file)


def _check_image(source: Source) -> None:
    """Raise `NotAnImage`, saying what the instance is instead."""
    name = UID(source.value(_SOP_CLASS).decode("latin-1").strip(" \0")).name
    if source.pixels is None:
        raise NotAnImage(f"no image: {name or 'an instance without SOP Class UID (0008,0016)'} without pixel data")
    if source.syntax.video:
        raise NotAnImage(f"no image but video: {source.syntax.name}")


def _frames(order: RenderOrder, count: int) -> tuple[int, ...] | range:
    for number in order.frames:
        if not 1 <= number <= count:
            raise BadOrder(f"there is no frame {number}: the image has {count}")
    return order.frames or range(1, count + 1)


def _pictures(image: Image, order: RenderOrder, frames: tuple[int, ...] | range, file: BinaryIO) -> RenderedFile:
    draw = _DRAWN[order.how]
    pictures = (draw(image, order, number) for number in frames)
    if order.media_type == GIF:
        length = write_gif(file, pictures, frame_time(image.attributes))
        return RenderedFile(length=length, media_type=GIF, lengths=(length,))
    files = (encode_picture(picture, order.media_type, order.quality) for picture in pictures)
    return _written(file, order.media_type, files)


def _written(file: BinaryIO, media_type: str, parts: Iterator[bytes]) -> RenderedFile:
    lengths = tuple(file.write(part) for part in parts)
    return RenderedFile(length=sum(lengths), media_type=media_type, lengths=lengths)


def _native(image: Image, number: int) -> bytes:
    return to_native(image.cells(number).frame, bits=image.geometry.bits_allocated == 1)


def _array(image: Image, order: RenderOrder, frames: tuple[int, ...] | range, file: BinaryIO) -> RenderedFile:
    arrays = (_values(image, order, number) for number in frames)
    # A frame that was asked for by its number has no axis of frames.
    count = None if len(order.frames) == 1 else len(frames)
    length = write_array(file, arrays, count, compress=order.compress)
    return RenderedFile(length=length, media_type=OCTETS, lengths=(length,))


def _values(image: Image, order: RenderOrder, number: int) -> Pixels:
    decoded = _orthanc_frame(image, number)
    if not _is_grey(decoded):
        return to_rgb(decoded, image)
    return orthanc.rescaled(decoded.frame, _rescale(image, number)) if order.rescale else decoded.frame


def _rescale(image: Image, number: int) -> Rescale:
    """Return what Orthanc applies: not a dose's, which has another meaning."""
    if image.attributes.text(_SOP_CLASS) == _RT_DOSE:
        return Rescale()
    return read_rescale(image.attributes, number)


def _orthanc_frame(image: Image, number: int) -> Decoded:
    decoded = image.frame(number)
    bits = image.geometry.bits_allocated == 1
    return replace(decoded, frame=orthanc.whole_bytes(decoded.frame)) if bits else decoded


def _is_grey(decoded: Decoded) -> bool:
    return decoded.frame.shape[2] == 1 and decoded.photometric != "PALETTE COLOR"


def _colours(decoded: Decoded, image: Image) -> Pixels:
    """Return RGB of 8 bits."""
    rgb = to_rgb(decoded, image)
    return rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)


def _rendered(image: Image, order: RenderOrder, number: int) -> Pixels:
    """Draw a frame as PS3.18 8.3.5 and the pipeline of PS3.4 N.2 have it, its annotations burned in."""
    window = order.window and check_window(order.window)
    cells = image.cells(number)
    decoded = image.values(cells)
    if _is_grey(decoded):
        rules = read_grey_rules(image.attributes, image.geometry, number, window)
        picture: Pixels = rules.apply(decoded.frame[:, :, 0])
    else:
        picture = _colours(decoded, image)
    picture = annotated(picture, image.attributes, number, cells.frame)
    return _in_viewport(picture, order.viewport, image, number) if order.viewport else picture


def _in_viewport(picture: Pixels, viewport: Viewport, image: Image, number: int) -> Pixels:
    part = region(viewport, picture.shape[1], picture.shape[0])
    height = part.height * pixel_aspect(image.attributes, number)
    return resized(part.cut(picture), *fitted(part.width, height, viewport.vw, viewport.vh))


def _as_orthanc(image: Image, order: RenderOrder, number: int) -> Pixels:
    decoded = _orthanc_frame(image, number)
    if not _is_grey(decoded):
        return orthanc.sized(_colours(decoded, image), order.width, order.height, smooth=order.smooth)
    rescale = _rescale(image, number)
    window = order.window or read_window(of_frame(image.attributes, FRAME_VOI_LUT, number))
    window = window or orthanc.full_window(image.geometry.bits_stored)
    picture = orthanc.windowed(decoded.frame[:, :, 0], window, rescale)
    picture = orthanc.sized(picture, order.width, order.height, smooth=order.smooth)
    return 255 - picture if decoded.photometric == "MONOCHROME1" else picture


def _preview(image: Image, _: RenderOrder, number: int) -> Pixels:
    decoded = image.frame(number)
    if not _is_grey(decoded):
        return _colours(decoded, image)
    picture = orthanc.stretched(decoded.frame[:, :, 0])
    return 255 - picture if decoded.photometric == "MONOCHROME1" else picture


def _clamped(image: Image, number: int, wanted: type[np.integer[Any]]) -> Frame:
    decoded = _orthanc_frame(image, number)
    if not _is_grey(decoded):
        raise NotPossible(f"{decoded.photometric} frames have colours, not one number a pixel: ask for a preview")
    return orthanc.clamped(decoded.frame[:, :, 0], wanted)


_DRAWN: Final[dict[str, Callable[[Image, RenderOrder, int], Pixels]]] = {
    "rendered": _rendered,
    "orthanc": _as_orthanc,
    "preview": _preview,
    "uint8": lambda image, _, number: _clamped(image, number, np.uint8),
    "uint16": lambda image, _, number: _clamped(image, number, np.uint16),
    # As two's complement, which is how Orthanc writes negative values.
    "int16": lambda image, _, number: _clamped(image, number, np.int16).view(np.uint16),
}
