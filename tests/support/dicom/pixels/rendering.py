"""Pictures of images with invented pixels, drawn in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from osteon.dicom.pixels.codecs import decode
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.image_reader import ImageReader
from osteon.dicom.pixels.render_options import PNG, RenderedFile, RenderOptions
from osteon.dicom.pixels.rendering import render
from osteon.dicom.pixels.source import PixelSource
from support.dicom.datasets import saved
from support.dicom.pixels.images import image


def grey(values: Any, **attributes: Any) -> Dataset:
    """Return an image with these stored values: (rows, columns) or (frames, rows, columns) of whole numbers."""
    array = np.asarray(values)
    bits = array.dtype.itemsize * 8
    layout = {"allocated": bits, "stored": bits, "frames": array.shape[0] if array.ndim == 3 else 1}
    rows, columns = array.shape[-2:]
    data = array.tobytes() + b"\0" * (array.nbytes % 2)
    signed = array.dtype.kind == "i"
    return image(rows=rows, columns=columns, signed=signed, **{**layout, "PixelData": data, **attributes})


def colours(values: Any, **attributes: Any) -> Dataset:
    """Return an image with these samples: (rows, columns, 3)."""
    array = np.asarray(values)
    bits = array.dtype.itemsize * 8
    data = array.tobytes() + b"\0" * (array.nbytes % 2)
    rows, columns = array.shape[:2]
    layout = {"samples": 3, "allocated": bits, "stored": bits, "PixelData": data}
    return image(rows=rows, columns=columns, **{**layout, **attributes})


def ordered(source: Dataset | Path, folder: Path, **order: Any) -> tuple[RenderedFile, bytes]:
    """Render into a file of `folder`; return what is said of it, and its bytes."""
    path = saved(source, folder) if isinstance(source, Dataset) else source
    destination = folder / "picture"
    done = render(path, RenderOptions(**order), destination, PixelLimits())
    return done, destination.read_bytes()


def drawn(source: Dataset | Path, folder: Path, **order: Any) -> NDArray[Any]:
    """Return the pixels of a picture: (rows, columns), with colours (rows, columns, 3)."""
    done, data = ordered(source, folder, **order)
    assert done.media_type == order.get("media_type", PNG)
    assert done.lengths == (len(data),)
    return np.asarray(imagecodecs.png_decode(data))


@contextmanager
def opened_image(path: Path) -> Iterator[ImageReader]:
    """Open an image with all codecs."""
    with PixelSource(path, PixelLimits(), to_pixels=True) as source:
        yield ImageReader(source, decode)
