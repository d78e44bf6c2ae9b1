"""From an open DICOM file to the pictures of its frames (PS3.18 8.3.5, Orthanc's REST), one frame in memory at a time.

Imports no decoder: `osteon.dicom.pixels.rendering` brings all of them, `draw_native` needs none.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO, Final

import numpy as np
from pydicom.uid import UID

from osteon.dicom.encoding import Buffer
from osteon.dicom.pixels.arrays import write_array
from osteon.dicom.pixels.errors import NotAnImage, NotPossible
from osteon.dicom.pixels.frame_reader import FrameTables
from osteon.dicom.pixels.frame_renderer import FrameRenderer
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.gif import frame_time, write_gif
from osteon.dicom.pixels.image_reader import Decoder, ImageReader, native_only
from osteon.dicom.pixels.image_writers import encode_image
from osteon.dicom.pixels.render_options import GIF, OCTETS, RenderedFile, RenderOptions
from osteon.dicom.pixels.source import PixelSource

_SOP_CLASS: Final = 0x00080016


def draw(
    source: PixelSource,
    options: RenderOptions,
    destination: BinaryIO,
    decode: Decoder,
    *,
    before_frame: Callable[[], None] = lambda: None,
    tables: FrameTables | None = None,
    name: str = "",
) -> RenderedFile:
    """Write what the options describe; images of several frames follow one another. Parameters: as `render`'s.

    Raises `NoSuchFrame`, `BadRenderOptions`, `NotAnImage`, `NotPossible`, `PixelError`, `BadDataSet`.
    """
    _check_image(source)
    if tables is not None:
        source.frame_table = tables.get(name)
    # What is beyond a float's range becomes infinite, and white.
    with np.errstate(all="ignore"):
        image = ImageReader(source, decode, before_frame)
        if tables is not None:
            tables.keep(name, source.frame_table)
        for number in options.frames:
            image.require(number)
        made = _drawn(FrameRenderer(image, options, source.limits), destination)
    return replace(made, warning="; ".join(image.problems))


def draw_native(file: Buffer, options: RenderOptions, limits: PixelLimits) -> tuple[RenderedFile, bytes]:
    """Return the picture of frames of a Part 10 file whose pixel data needs no decoder.

    Raises `NotPossible` for other files, and what `draw` raises. Pixel data is the last that is read of the file.
    """
    with PixelSource(file, limits, to_pixels=True) as source, io.BytesIO() as destination:
        if source.encapsulated or source.syntax.deflated:
            raise NotPossible("pixel data is encapsulated or deflated")
        made = draw(source, options, destination, native_only)
        return made, destination.getvalue()


def _drawn(drawing: FrameRenderer, file: BinaryIO) -> RenderedFile:
    image, options = drawing.image, drawing.options
    frames = options.frames or range(1, image.geometry.frames + 1)
    if options.mode == "numpy":
        return _array(drawing, frames, file)
    if options.mode == "frames":
        return _written(file, OCTETS, map(image.native, frames))
    return _pictures(drawing, frames, file)


def _check_image(source: PixelSource) -> None:
    """Raise `NotAnImage`, saying what the instance is instead."""
    name = UID(source.value(_SOP_CLASS).decode("latin-1").strip(" \0")).name
    if source.pixels is None:
        raise NotAnImage(f"no image: {name or 'an instance without SOP Class UID (0008,0016)'} without pixel data")
    if source.syntax.video:
        raise NotAnImage(f"no image but video: {source.syntax.name}")


def _pictures(drawing: FrameRenderer, frames: Sequence[int], file: BinaryIO) -> RenderedFile:
    options = drawing.options
    pictures = (drawing.picture(number) for number in frames)
    if options.media_type == GIF:
        length = write_gif(file, pictures, frame_time(drawing.image.attributes))
        return RenderedFile(length=length, media_type=GIF, lengths=(length,))
    files = (encode_image(picture, options.media_type, options.quality) for picture in pictures)
    return _written(file, options.media_type, files)


def _written(file: BinaryIO, media_type: str, parts: Iterator[bytes]) -> RenderedFile:
    lengths = tuple(file.write(part) for part in parts)
    return RenderedFile(length=sum(lengths), media_type=media_type, lengths=lengths)


def _array(drawing: FrameRenderer, frames: Sequence[int], file: BinaryIO) -> RenderedFile:
    options = drawing.options
    arrays = (drawing.samples(number) for number in frames)
    # A frame that was requested by its number has no axis of frames.
    count = None if len(options.frames) == 1 else len(frames)
    length = write_array(file, arrays, count, compress=options.compress)
    return RenderedFile(length=length, media_type=OCTETS, lengths=(length,))
