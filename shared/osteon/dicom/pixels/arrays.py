"""Writes frames as an array of NumPy: .npy, or .npz with one array called `arr_0`; one frame in memory at a time."""

import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def write_array(file: BinaryIO, frames: Iterable[NDArray[Any]], count: int | None, *, compress: bool) -> int:
    """Write frames of one shape and type; return the length in bytes.

    The array has a first axis of `count` frames, or none where that is None.
    """
    with ExitStack() as stack:
        out: IO[bytes] = file
        if compress:
            archive = stack.enter_context(zipfile.ZipFile(file, "w"))
            entry = zipfile.ZipInfo("arr_0.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            out = stack.enter_context(archive.open(entry, "w", force_zip64=True))
        for number, frame in enumerate(frames):
            if not number:
                _write_head(out, frame, () if count is None else (count,))
            out.write(np.ascontiguousarray(frame).data)
    return file.tell()


def _write_head(file: IO[bytes], frame: NDArray[Any], first: tuple[int, ...]) -> None:
    description = np.lib.format.dtype_to_descr(frame.dtype)
    head = {"descr": description, "fortran_order": False, "shape": (*first, *frame.shape)}
    np.lib.format.write_array_header_1_0(file, head)
