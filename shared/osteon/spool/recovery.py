"""Makes sealed packs of what a process left behind when it died, or of a file that is corrupt.

Every member can be verified: its TAR header has a checksum, and its file meta information the SHA-256 of its data set.
A member that was acknowledged was on the disk as a whole, so incomplete ones at the end are the torn tail. One with
intact members behind it is not a tail but damage, and then nothing of the file is truncated.
"""

import hashlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from osteon.dicom.errors import BadPart10
from osteon.dicom.part10 import FileMeta, file_sha256, read_part10
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.packs.errors import BadPack
from osteon.packs.ids import new_pack_id
from osteon.packs.tar import (
    BLOCK,
    END_OF_ARCHIVE,
    MAGIC,
    MAGIC_AT,
    SIDECAR,
    PackMember,
    decode_header,
    next_member,
)
from osteon.spool.disk import Disk
from osteon.spool.paths import DAMAGED, OPEN, SEALED
from osteon.spool.sealed_pack import SealedPack

_CHUNK: Final = 1 << 20
_META: Final = 64 << 10
"""File meta information of a member that Osteon wrote is far shorter."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RecoveryResult:
    """The sealed pack that came of a file, None when no member was intact; and how many bytes were dropped."""

    pack: SealedPack | None
    torn: int


@dataclass(frozen=True, slots=True)
class _IntactMember:
    member: PackMember
    meta: FileMeta


@dataclass(frozen=True, slots=True)
class _Survey:
    """The intact members: the first, where the last ends, how many."""

    first: _IntactMember | None
    end: int
    count: int


def recover(path: Path, root: Path, disk: Disk) -> RecoveryResult:
    """Seal an open pack where it is, without its torn tail; a pack without an intact member is removed. Blocks.

    A sealed pack is only read. A damaged one goes to `salvage`. After a crash or an error on the way, calling it again
    gives the same result. Raises `OSError`.
    """
    if path.name.endswith(OPEN) and not path.exists() and _sealed_name(path).exists():
        path = _sealed_name(path)  # only the sync of its new name had failed
    try:
        return _recover_in_place(path, root, disk)
    except BadPack as error:
        log.error("pack is corrupt, saving its intact members", file=path.name, error=str(error))
        return salvage(path, root, disk)


def _recover_in_place(path: Path, root: Path, disk: Disk) -> RecoveryResult:
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        found = _survey(file, size)
        torn = 0 if _is_end(file, found.end, size, path) else size - found.end
        if path.name.endswith(SEALED) and (torn or found.first is None):
            raise BadPack(f"the sealed pack {path.name} is damaged from byte {found.end} on")
        if found.first is None:
            path.unlink()
            return RecoveryResult(None, torn)
        if path.name.endswith(OPEN):
            path = _seal(file, path, found.end, disk)
        return RecoveryResult(_sealed_pack(file, path, root, found), torn)


def _is_end(file: BinaryIO, end: int, size: int, path: Path) -> bool:
    """Whether what follows the last intact instance is the end of the archive, of a sealed pack also its sidecar.

    Where the object is the spool's own file, the sidecar is written over the end of the archive, and may be torn behind
    its TAR header.
    """
    if size - end <= len(END_OF_ARCHIVE) and not any(os.pread(file.fileno(), size - end, end)):
        return True
    try:
        header = decode_header(os.pread(file.fileno(), BLOCK, end))
    except BadPack:
        return False
    own = header is not None and header.name == f"{path.name.removesuffix(SEALED)}{SIDECAR}"
    return own and _next_intact(file, end + BLOCK, size) is None


def salvage(path: Path, root: Path, disk: Disk, *, limit: int | None = None) -> RecoveryResult:
    """Copy the intact members of a corrupt file into a new sealed pack beside it. Blocks.

    Only the first `limit` bytes count, which were acknowledged. The file is removed when all of them were copied; if
    not, it is kept for the operator, under a name that ends with `.damaged`.
    """
    copy = path.parent / f"{new_pack_id()}{OPEN}"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size if limit is None else limit
            kept = _copy_intact(file, size, copy, disk)
        recovered = _recover_in_place(copy, root, disk)
        if limit is not None and kept >= limit:
            path.unlink()
        else:
            path.rename(path.with_name(path.name + DAMAGED))
    except BaseException:
        copy.unlink(missing_ok=True)
        _sealed_name(copy).unlink(missing_ok=True)
        raise
    try:
        disk.sync_folder(path.parent)
    except OSError as error:
        # Not an error: a file that a crash brings back is salvaged again, and its instances are known then.
        log.warning("salvaged file may reappear after a crash", file=path.name, error=str(error))
    return RecoveryResult(recovered.pack, size - kept)


def _survey(file: BinaryIO, size: int) -> _Survey:
    first, end, count, damaged = None, 0, 0, False
    for found in _members(file, size):
        if not isinstance(found, _IntactMember):
            damaged = True
            continue
        if damaged:
            raise BadPack(f"the member at byte {found.member.offset} is intact, one before it is not")
        first = first or found
        end, count = found.member.end, count + 1
    return _Survey(first, end, count)


def _members(file: BinaryIO, size: int) -> Iterator[_IntactMember | PackMember]:
    """Iterate over the members; a corrupt one, or what follows an invalid TAR header, is a bare `PackMember`."""
    offset = 0
    while offset + BLOCK <= size:
        try:
            member = next_member(file, offset, size)
        except BadPack:
            following = _next_intact(file, offset + BLOCK, size)
            if following is None:
                return
            member = PackMember("", offset, following - offset, 0)
            yield member
            offset = following
            continue
        if member is None:
            return
        yield _verify(file, member)
        offset = member.end


def _next_intact(file: BinaryIO, start: int, size: int) -> int | None:
    """Return where the next intact member begins, behind a TAR header that cannot be read.

    Data may hold what looks like members; at most `size` bytes of that are hashed.
    """
    left = size
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
        at = start + MAGIC_AT - 1
        while left > 0 and (at := mapped.find(MAGIC, at + 1)) >= 0:
            offset = at - MAGIC_AT
            if offset % BLOCK:
                continue
            try:
                member = next_member(file, offset, size)
            except BadPack:
                continue
            if member is not None:
                left -= member.length
                if isinstance(_verify(file, member), _IntactMember):
                    return offset
    return None


def _verify(file: BinaryIO, member: PackMember) -> _IntactMember | PackMember:
    file.seek(member.offset)
    try:
        meta = read_part10(file.read(min(member.length, _META)))
    except BadPart10:
        return member
    file.seek(member.offset + meta.data_set_offset)
    left = member.length - meta.data_set_offset
    digest = hashlib.sha256()
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    intact = not left and digest.digest() == file_sha256(meta) and member.name == f"{meta.sop_instance_uid}.dcm"
    return _IntactMember(member, meta) if intact else member


def _seal(file: BinaryIO, path: Path, end: int, disk: Disk) -> Path:
    disk.truncate(file.fileno(), end)
    disk.write(file.fileno(), end, (END_OF_ARCHIVE,))
    disk.sync(file.fileno())
    sealed = path.rename(_sealed_name(path))
    disk.sync_folder(path.parent)
    return sealed


def _sealed_name(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(OPEN) + SEALED)


def _copy_intact(file: BinaryIO, size: int, copy: Path, disk: Disk) -> int:
    """Copy intact members with their TAR headers; return the length of the copy."""
    position = 0
    with copy.open("xb") as target:
        for found in _members(file, size):
            if not isinstance(found, _IntactMember):
                continue
            source = found.member.offset - BLOCK
            while source < found.member.end:
                chunk = os.pread(file.fileno(), min(_CHUNK, found.member.end - source), source)
                disk.write(target.fileno(), position, (chunk,))
                source, position = source + len(chunk), position + len(chunk)
    return position


def _sealed_pack(file: BinaryIO, path: Path, root: Path, found: _Survey) -> SealedPack:
    first = found.first
    assert first is not None
    study, series = _identify(file, first)
    pack_id = path.name.removesuffix(SEALED)
    return SealedPack(
        pack_id=pack_id,
        path=path.relative_to(root).as_posix(),
        study_uid=study,
        series_uid=series,
        calling_aet=first.meta.source_aet,
        remote_host="",
        received_at=datetime.fromtimestamp(first.member.received_at, UTC),
        instances=found.count,
        size=found.end + len(END_OF_ARCHIVE),
        correlation_id=pack_id,
    )


def _identify(file: BinaryIO, intact: _IntactMember) -> tuple[str, str]:
    start = intact.member.offset + intact.meta.data_set_offset
    end = intact.member.offset + intact.member.length
    with (
        mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
        view[start:] as data,
    ):
        identity = peek_identity(data, intact.meta.transfer_syntax_uid, complete=True)
    if identity is None:
        raise Invalid(f"the instance {intact.meta.sop_instance_uid} has no Series Instance UID (0020,000E)")
    return identity.study_uid, identity.series_uid
