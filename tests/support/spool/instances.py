"""Data sets of invented patients as raw bytes, and what a spool test needs around them."""

import hashlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from osteon.dicom.part10 import read_part10
from osteon.dimse.handler import AssociationInfo, Outcome, PresentationContext, StoreRequest
from osteon.packs.tar import members
from osteon.spool.association_spool import AssociationSpool
from osteon.spool.disk import Disk
from osteon.spool.sealed_pack import SealedPack

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXT = PresentationContext(1, CT, EXPLICIT)


def association(name: str = "a1") -> AssociationInfo:
    return AssociationInfo(name, "SCANNER", "OSTEON", "192.0.2.7", 51000)


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    if vr in (b"OW", b"OB", b"UN"):
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def data_set(
    sop: str,
    *,
    series: str = "1.2.3",
    study: str = "1.2",
    pixels: bytes = b"ab",
    sop_class: str = CT,
    before: bytes = b"",
) -> bytes:
    """Explicit VR little endian; `before` goes ahead of Patient ID."""
    return b"".join(
        (
            element(0x0008, 0x0016, b"UI", sop_class.encode()),
            element(0x0008, 0x0018, b"UI", sop.encode()),
            before,
            element(0x0010, 0x0020, b"LO", b"OSTEON-TEST"),
            element(0x0020, 0x000D, b"UI", study.encode()),
            element(0x0020, 0x000E, b"UI", series.encode()),
            element(0x7FE0, 0x0010, b"OW", pixels),
        )
    )


async def store(
    intake: AssociationSpool, sop: str, data: bytes, *, context: PresentationContext = CONTEXT, piece: int = 16_000
) -> Outcome:
    """Send a data set in pieces, as an association does."""
    sink = intake.begin(StoreRequest(1, context.abstract_syntax, sop), context)
    if isinstance(sink, Outcome):
        return sink
    for start in range(0, len(data), piece):
        if (waiting := sink.write(memoryview(data)[start : start + piece])) is not None:
            await waiting
    return await sink.finish()


def contents(pack: Path) -> dict[str, bytes]:
    """Return the data sets of a sealed pack by SOP Instance UID."""
    whole = pack.read_bytes()
    found = {}
    for member in members(pack):
        file = whole[member.offset : member.offset + member.length]
        meta = read_part10(file)
        assert member.name == f"{meta.sop_instance_uid}.dcm"
        assert meta.private_information == hashlib.sha256(file[meta.data_set_offset :]).digest()
        found[meta.sop_instance_uid] = file[meta.data_set_offset :]
    return found


@dataclass
class RecordingPublish:
    """A `publish` that remembers; `then` may fail it, or do more."""

    packs: list[SealedPack] = field(default_factory=list)
    then: Callable[[SealedPack], Awaitable[None]] | None = None

    async def __call__(self, pack: SealedPack) -> None:
        if self.then is not None:
            await self.then(pack)
        self.packs.append(pack)


class FaultyDisk(Disk):
    """A disk whose next calls fail: method name → error; the error stays until it is taken away."""

    def __init__(self) -> None:
        self.faults: dict[str, OSError] = {}
        self.syncs = 0
        self.space = (1 << 40, 0)

    def _maybe(self, name: str) -> None:
        if name in self.faults:
            raise self.faults[name]

    def write(self, fd, offset, parts):  # type: ignore[no-untyped-def]
        if "write" in self.faults:
            super().write(fd, offset, [bytes(parts[0])[:100]])
        self._maybe("write")
        super().write(fd, offset, parts)

    def sync(self, fd: int) -> None:
        self.syncs += 1
        self._maybe("sync")
        super().sync(fd)

    def sync_folder(self, folder: Path) -> None:
        self._maybe("sync_folder")
        super().sync_folder(folder)

    def truncate(self, fd: int, size: int) -> None:
        self._maybe("truncate")
        super().truncate(fd, size)

    def free(self, folder: Path) -> tuple[int, int]:
        return self.space
