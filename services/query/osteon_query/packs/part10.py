"""Looking into uploaded Part 10 files (PS3.10). What opens files blocks: call it in threads."""

import mmap
from pathlib import Path
from typing import Final

from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import Identity
from osteon.dicom.part10 import read_part10
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid
from osteon_query.http.errors import BadBody
from osteon_query.packs.frames import pixel_problem

_BARE: Final = b"\x02\x00\x00\x00UL\x04\x00"
"""File Meta Information Group Length (0002,0000), with which a file begins whose writer left out what stands before."""


def missing_preamble(start: bytes | bytearray) -> bytes:
    """Return preamble and prefix for a file that begins with its file meta information, else nothing."""
    return bytes(128) + b"DICM" if start.startswith(_BARE) else b""


def examine(file: Path | bytes, reader: HeaderReader) -> tuple[Identity, int, str]:
    """Return a file's identity, its length in bytes, and what is wrong with its header or pixel data (empty: nothing).

    Raises `Invalid` when the instance cannot be identified.
    """
    content = file if isinstance(file, bytes) else _map(file)
    size = len(content)
    with memoryview(content) as view:
        meta = read_part10(view)
        with view[meta.data_set_offset :] as dataset:
            identity = peek_identity(dataset, meta.transfer_syntax_uid, complete=True)
            assert identity is not None
            try:
                problem = pixel_problem(reader.read(dataset, meta.transfer_syntax_uid))
            except Invalid as error:
                problem = str(error)
    return identity, size, problem


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise BadBody("the file is empty")
        # Not closed explicitly: an error's traceback may still hold views of it, which would make closing fail.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
