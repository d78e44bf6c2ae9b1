"""The sidecar as the last member of its pack, and how it is found there.

    members | TAR header of `<pack>.meta` | sidecar | skippable frame: zeros, trailer | end of the archive

The member's content is a valid zstd file (RFC 8878 3.1.2: decoders pass over skippable frames) that fills whole blocks,
so the trailer is always at the same distance from the object's end: who knows nothing but its length finds all.
"""

import io
import struct
from typing import Final, NamedTuple

from osteon.objects.port import Objects
from osteon.packs.tar import BLOCK, END_OF_ARCHIVE, SIDECAR, encode_header, padding

_FRAME: Final = struct.Struct("<II")
_FRAME_MAGIC: Final = 0x184D2A5E
_TRAILER: Final = struct.Struct(">8sQQQ")
_TRAILER_MAGIC: Final = b"\x89OSTEON\n"
_FROM_END: Final = _TRAILER.size + len(END_OF_ARCHIVE)
_TAIL: Final = 64 << 10
"""Bytes read from the end of a pack of which only the length is known: most sidecars are shorter."""


class PackTail(NamedTuple):
    """What follows the instances of a pack, from byte `start` on: the sidecar's member and the end of the archive."""

    start: int
    data: bytes

    @property
    def sidecar_offset(self) -> int:
        """Where the sidecar begins in the pack."""
        return self.start + BLOCK

    @property
    def size(self) -> int:
        """The length of the pack with this tail."""
        return self.start + len(self.data)


class TailWriter(io.BytesIO):
    """Takes the bytes of a sidecar, and makes a tail of them."""

    def __init__(self) -> None:
        super().__init__()
        self.write(bytes(BLOCK))

    def finish(self, pack_id: str, start: int, mtime: int) -> PackTail:
        """Return the tail of a pack whose instances end at `start`; `mtime` in Unix seconds."""
        length = self.tell() - BLOCK
        zeros = padding(length + _FRAME.size + _TRAILER.size)
        end = self.tell() + _FRAME.size + zeros + _TRAILER.size
        self.write(_FRAME.pack(_FRAME_MAGIC, zeros + _TRAILER.size) + bytes(zeros))
        self.write(_TRAILER.pack(_TRAILER_MAGIC, start + BLOCK, length, start + end + len(END_OF_ARCHIVE)))
        self.write(END_OF_ARCHIVE)
        self.seek(0)
        self.write(encode_header(f"{pack_id}{SIDECAR}", end - BLOCK, mtime))
        return PackTail(start, self.getvalue())


def sidecar_offset(end: bytes, size: int) -> int | None:
    """Return where the sidecar begins in a pack of `size` bytes that ends with `end`; None when none is in it."""
    offset, _, total = _read_trailer(end)
    return offset if total == size and BLOCK <= offset < size else None


def without_trailer(data: bytes) -> memoryview:
    """Return the sidecar that `data` begins with, which may be all that follows it in its pack."""
    return memoryview(data)[: _read_trailer(data)[1]]


def _read_trailer(end: bytes) -> tuple[int, int | None, int]:
    """Return where the sidecar begins in the pack, its length and the pack's; zeros and None without a trailer."""
    if len(end) < _FROM_END:
        return 0, None, 0
    magic, *numbers = _TRAILER.unpack_from(end, len(end) - _FROM_END)
    return tuple(numbers) if magic == _TRAILER_MAGIC else (0, None, 0)


class FoundSidecar(NamedTuple):
    """A sidecar of which only the pack was known; without `offset` it is in an object of its own."""

    data: bytes
    offset: int | None


async def find_sidecar(key: str, size: int, objects: Objects) -> FoundSidecar:
    """Return the sidecar of the pack `key` of `size` bytes, mostly by one request; raises `ObjectNotFound`."""
    start = max(0, size - _TAIL)
    end = await objects.get(key, start)
    offset = sidecar_offset(end, size)
    if offset is None:
        return FoundSidecar(await objects.get(f"{key.removesuffix('.tar')}{SIDECAR}"), None)
    return FoundSidecar(end[offset - start :] if offset >= start else await objects.get(key, offset), offset)
