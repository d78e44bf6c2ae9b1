"""The TAR format of a pack: POSIX ustar (IEEE Std 1003.1, pax/ustar interchange format), written and read.

Only what a pack needs: regular files with short ASCII names. Sizes of 8 GiB and more use GNU's base-256 form, which
every current TAR program reads.
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from osteon.packs.errors import BadPack

BLOCK: Final = 512
END_OF_ARCHIVE: Final = bytes(2 * BLOCK)
ZEROS: Final = bytes(BLOCK)
MAGIC: Final = b"ustar\0"
MAGIC_AT: Final = 257
"""The magic bytes of every header, and where they are."""
SIDECAR: Final = ".meta"
"""How the name of a pack's last member ends, its sidecar; those of instances end with `.dcm`."""

_HEADER: Final = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 6s 2s 32s 32s 8s 8s 155s 12x")
_CHECKSUM: Final = slice(148, 156)
_OCTAL_LIMIT: Final = 1 << 33
_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TarHeader:
    """The content of a header block: member name, content length in bytes, modification time in Unix seconds."""

    name: str
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class PackMember:
    """One Part 10 file of a pack.

    Attributes:
        name: `<SOP Instance UID>.dcm`.
        offset: of the file's first byte (its preamble) in the pack.
        length: of the file in bytes.
        received_at: Unix seconds.
    """

    name: str
    offset: int
    length: int
    received_at: int

    @property
    def end(self) -> int:
        """Where the next member's TAR header starts."""
        return self.offset + self.length + padding(self.length)


def padding(size: int) -> int:
    """Return how many bytes fill `size` up to whole blocks."""
    return -size % BLOCK


def encode_header(name: str, size: int, mtime: int) -> bytes:
    """Return the header block of a regular file; raises `BadPack` for a name that could lead out of a folder."""
    if not _NAME.fullmatch(name):
        raise BadPack(f"{name[:120]!r} cannot be the name of a member: 1-100 letters, digits, '.', '-' or '_'")
    block = _HEADER.pack(
        name.encode("ascii"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        _number(size),
        _number(mtime),
        b" " * 8,
        b"0",
        b"",
        MAGIC,
        b"00",
        b"",
        b"",
        b"0000000\0",
        b"0000000\0",
        b"",
    )
    checksum = b"%06o\0 " % sum(block)
    return block[: _CHECKSUM.start] + checksum + block[_CHECKSUM.stop :]


def decode_header(block: bytes) -> TarHeader | None:
    """Read a header block; None for a block of zeros (the end of the archive); raises `BadPack`."""
    if block == ZEROS:
        return None
    if len(block) != BLOCK:
        raise BadPack(f"a TAR header of {len(block)} bytes, expected {BLOCK}")
    claimed = _parse(block[_CHECKSUM])
    if claimed != sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" "):
        raise BadPack("the checksum of a TAR header does not match")
    fields = _HEADER.unpack(block)
    name = fields[0].rstrip(b"\0").decode("ascii", "replace")
    if not _NAME.fullmatch(name) or fields[7] not in (b"0", b"\0") or fields[15].strip(b"\0"):
        raise BadPack(f"the TAR member {name[:120]!r} is not a plain file with a plain name")
    return TarHeader(name, _parse(fields[4]), _parse(fields[5]))


def members(path: Path) -> Iterator[PackMember]:
    """Iterate over the instances of a sealed pack, reading only their TAR headers.

    Raises `BadPack` at the first thing that is wrong, an absent end of archive included, and `FileNotFoundError`.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        offset = 0
        while member := next_member(file, offset, size):
            yield member
            offset = member.end


def next_member(file: BinaryIO, offset: int, size: int) -> PackMember | None:
    """Read the TAR header at `offset` of a pack of `size` bytes; raises `BadPack`.

    Returns None where the instances end: at the sidecar, which may be torn, or at the end of the archive.
    """
    file.seek(offset)
    header = decode_header(file.read(BLOCK))
    if header is None or header.name.endswith(SIDECAR):
        return None
    member = PackMember(header.name, offset + BLOCK, header.size, header.mtime)
    if member.end > size:
        raise BadPack(f"the member {header.name} ends at byte {member.end} of a pack of {size} bytes")
    return member


def _number(value: int) -> bytes:
    if 0 <= value < _OCTAL_LIMIT:
        return b"%011o\0" % value
    return b"\x80" + value.to_bytes(11, "big")


def _parse(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if not re.fullmatch(rb"[0-7]+", digits):
        raise BadPack("a number in a TAR header is not octal")
    return int(digits, 8)
