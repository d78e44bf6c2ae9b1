"""Writes a pack of Part 10 files that arrived whole (HTTP uploads), without a spool or an association."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from osteon.packs.tar import END_OF_ARCHIVE, encode_header, padding

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part10File:
    """A file to put into a pack, byte for byte: its SOP Instance UID, and its content or the path of it."""

    sop_uid: str
    source: Path | bytes


@dataclass(frozen=True, slots=True)
class WrittenPack:
    """What `write_pack` made: the TAR's length in bytes, and how many members it has."""

    size: int
    instances: int


def write_pack(path: Path, files: Iterable[Part10File], *, received_at: datetime) -> WrittenPack:
    """Write a new pack at `path` from files of one series, in constant memory. Blocks: call it in a thread.

    The file is not synced to disk: the object store that takes it is what must be durable. Raises `FileExistsError`,
    `BadPack` for a UID that cannot be a member's name, and `OSError`; what was written until then is removed.
    """
    mtime = int(received_at.timestamp())
    instances = 0
    with path.open("xb") as pack:
        try:
            for file in files:
                _append(pack, file, mtime)
                instances += 1
            pack.write(END_OF_ARCHIVE)
        except BaseException:
            path.unlink()
            raise
        return WrittenPack(pack.tell(), instances)


def _append(pack: BinaryIO, file: Part10File, mtime: int) -> None:
    size = len(file.source) if isinstance(file.source, bytes) else file.source.stat().st_size
    pack.write(encode_header(f"{file.sop_uid}.dcm", size, mtime))
    start = pack.tell()
    if isinstance(file.source, bytes):
        pack.write(file.source)
    else:
        with file.source.open("rb") as source:
            shutil.copyfileobj(source, pack, _CHUNK)
    if pack.tell() - start != size:
        raise OSError(f"the file of instance {file.sop_uid} changed its length while it was packed")
    pack.write(bytes(padding(size)))
