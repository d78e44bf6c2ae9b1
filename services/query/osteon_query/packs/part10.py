"""Looking into uploaded Part 10 files (PS3.10). What opens files blocks: call it in threads."""

import mmap
import threading
from pathlib import Path
from typing import Final

from osteon.contracts.packs import PackStored
from osteon.dicom.identity import Identity
from osteon.dicom.part10 import read_part10
from osteon.dicom.peek import peek_identity
from osteon.dicom.reader import HeaderReader
from osteon.errors import Invalid
from osteon.spool import sidecar
from osteon_query.http.errors import BadBody

_local = threading.local()

_BARE: Final = b"\x02\x00\x00\x00UL\x04\x00"
"""File Meta Information Group Length (0002,0000), with which a file begins whose writer left out what stands before."""


def missing_preamble(start: bytes | bytearray) -> bytes:
    """Return preamble and prefix for a file that begins with its file meta information, else nothing."""
    return bytes(128) + b"DICM" if start.startswith(_BARE) else b""


def examine(path: Path) -> tuple[Identity, int]:
    """Return a file's identity and its length in bytes; raises `Invalid` when it can not be read to its end."""
    size = path.stat().st_size
    if not size:
        raise BadBody("the file is empty")
    with path.open("rb") as file:
        # Not closed by hand: an error's traceback may still hold views of it, which would make closing fail.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with memoryview(mapped) as view:
        return _identity(view), size


def _identity(file: memoryview) -> Identity:
    meta = read_part10(file)
    with file[meta.data_set_offset :] as dataset:
        identity = peek_identity(dataset, meta.transfer_syntax_uid, complete=True)
        if identity is None:
            raise Invalid("the data set ends before its Series Instance UID (0020,000E)")
        _reader().read(dataset, meta.transfer_syntax_uid)
    return identity


def build_sidecar(tar: Path, facts: PackStored) -> tuple[bytes, int]:
    """Return the sidecar of a pack and the number of elements that had to be marked."""
    return sidecar.build(tar, facts, _reader())


def _reader() -> HeaderReader:
    # A reader remembers the elements that repeat in a series; it serves one thread only.
    if not hasattr(_local, "reader"):
        _local.reader = HeaderReader()
    reader: HeaderReader = _local.reader
    return reader
