"""From a DICOM file to the pictures of its frames (PS3.18 8.3.5, Orthanc's REST). Only workers of `imaging` import it.

One frame is in memory at a time.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import imagecodecs
import numpy as np

from osteon.dicom.pixels.codecs import decode
from osteon.dicom.pixels.errors import BadOrder, NotAnImage
from osteon.dicom.pixels.geometry import Limits
from osteon.dicom.pixels.native import Frame
from osteon.dicom.pixels.orders import PNG, RenderedFile, RenderOrder
from osteon.dicom.pixels.registry import CODECS
from osteon.dicom.pixels.source import Source


def render(
    source_path: Path,
    order: RenderOrder,
    destination_path: Path,
    limits: Limits,
    *,
    before_frame: Callable[[], None] = lambda: None,
) -> RenderedFile:
    """Write what was ordered of the DICOM file at `source_path`; pictures of several frames follow one another.

    Raises `BadOrder`, `NotAnImage`, `NotPossible`, `PixelError`, `BadDataSet`. `before_frame` is called before each.
    """
    if order.media_type != PNG:
        raise BadOrder(f"no pictures of type {order.media_type}")
    with Source(source_path, limits) as source, destination_path.open("wb") as file:
        if source.pixels is None:
            raise NotAnImage("the instance has no Pixel Data (7FE0,0010)")
        geometry = source.geometry()
        codec = CODECS.get(source.meta.transfer_syntax_uid)
        if codec is None:
            raise NotAnImage(f"there is no decoder for {source.syntax.name}")
        lengths = []
        for number in order.frames or range(1, geometry.frames + 1):
            if not 1 <= number <= geometry.frames:
                raise BadOrder(f"there is no frame {number}, only 1 to {geometry.frames}")
            before_frame()
            data = next(islice(source.frames(geometry), number - 1, None))
            picture = _stretched(decode(codec, data, geometry).frame)
            lengths.append(file.write(imagecodecs.png_encode(picture, level=1)))
        return RenderedFile(length=sum(lengths), media_type=order.media_type, lengths=tuple(lengths))


def _stretched(frame: Frame) -> Frame:
    """Return the frame's own range as 0 to 255."""
    low, high = int(frame.min()), int(frame.max())
    scale = 255 / (high - low) if high > low else 0
    values: Frame = np.rint((frame.astype(np.float32) - low) * scale).astype(np.uint8)
    return values.squeeze(axis=2)
