"""The open packs of one association: one a series, instances appended, sealed when it is time.

Every method blocks. The committer lets one thread at a time work for an association, so nothing here is locked.
"""

import hashlib
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from osteon.dicom.identity import Identity
from osteon.dicom.peek import peek_identity
from osteon.packs.errors import WrongInstance
from osteon.packs.tar import END_OF_ARCHIVE
from osteon.spool.disk import Disk
from osteon.spool.errors import SpoolFailed
from osteon.spool.incoming_instance import IncomingInstance
from osteon.spool.open_pack import MemberStream, OpenPack, WriteReceipt
from osteon.spool.pack_file import Buffer, PackFile
from osteon.spool.sealed_pack import SealedPack, SealReason

MAX_OPEN: Final = 16
"""Open packs of one association; a sender that mixes more series than that gets smaller packs."""


@dataclass(frozen=True, slots=True)
class PackSender:
    """Where the packs of an association come from. `traceparent` is empty when it is not traced."""

    correlation_id: str
    calling_aet: str
    remote_host: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class PackLimits:
    """When a pack is sealed: at `size` bytes, `seconds` after its first instance, or with every commit."""

    size: int
    seconds: float
    each_commit: bool = False


class OpenPacks:
    """The open packs of one association.

    Attributes:
        sealed: packs that were sealed and not yet fetched, with the reason; another thread may `popleft`.
        broken: files that hold acknowledged instances and cannot be sealed as they are; likewise.
        next_due: monotonic time at which a pack must be sealed, None while none is open.
        open_bytes, open_count: of the packs that are open now.
        open_since: when the first instance of the oldest of them came, Unix seconds; None while none is open.
        written: bytes of all members so far.
    """

    def __init__(self, root: Path, folder: Path, sender: PackSender, limits: PackLimits, disk: Disk) -> None:
        self.sealed: deque[tuple[SealedPack, SealReason]] = deque()
        self.broken: deque[PackFile] = deque()
        self.next_due: float | None = None
        self.open_bytes = 0
        self.open_count = 0
        self.open_since: int | None = None
        self.written = 0
        self._root = root
        self._folder = folder
        self._sender = sender
        self._limits = limits
        self._disk = disk
        self._by_series: dict[tuple[str, str], OpenPack] = {}
        self._packs: list[OpenPack] = []

    def append(self, instance: IncomingInstance, data: Buffer) -> WriteReceipt:
        """Write a whole instance into the pack of its series.

        Raises `WrongInstance`, `osteon.errors.Invalid` for a data set without its UIDs, and `SpoolFailed`.
        """
        instance.check_uids()
        identity = peek_identity(data, instance.transfer_syntax, complete=True)
        if identity is None:
            raise WrongInstance("(0020,000E) Series Instance UID was not found")
        instance.check(identity)
        digest = hashlib.sha256(data).digest()
        pack = self._pack_of(identity, instance, digest)
        if pack.digests.get(instance.sop_uid) == digest:
            return WriteReceipt(pack, pack.file.size)
        size = pack.file.append(instance.member_name, instance.received_at, instance.file_header(digest), data)
        return self._added(pack, instance, digest, size)

    def begin(self, instance: IncomingInstance, data: Buffer) -> MemberStream:
        """Begin to write a large instance of which `data` are the first bytes. Raises as `append` does."""
        instance.check_uids()
        identity = peek_identity(data, instance.transfer_syntax, complete=False)
        if identity is not None:
            instance.check(identity)
        if identity is None:
            pack = self._open(None, instance)
        elif self._limits.each_commit:  # its end may be far, and responses wait for what the pack holds already
            pack = self._open((identity.study_uid, identity.series_uid), instance)
        else:
            pack = self._pack_of(identity, instance, None)
        stream = MemberStream(pack, instance)
        pack.streaming = True
        try:
            stream.write(data)
        except SpoolFailed:
            self.abort(stream)
            raise
        return stream

    def extend(self, stream: MemberStream, data: Buffer) -> None:
        """Write the next bytes of a large instance; after `SpoolFailed` the stream has been aborted."""
        try:
            stream.write(data)
        except SpoolFailed:
            self.abort(stream)
            raise

    def end(self, stream: MemberStream, data: Buffer) -> WriteReceipt:
        """Write the last bytes of a large instance. Raises as `append` does; then the stream has been aborted."""
        try:
            stream.write(data)
            digest = stream.finish()
            if stream.pack.series is None:
                stream.pack.series = self._identify(stream)
                stream.pack.seal_reason = SealReason.LARGE
        except BaseException:
            self.abort(stream)
            raise
        stream.ended = True
        stream.pack.streaming = False
        size = stream.pack.file.complete(stream.length)
        return self._added(stream.pack, stream.instance, digest, size)

    def abort(self, stream: MemberStream) -> None:
        """Drop a large instance that will not be completed."""
        if not stream.ended:
            stream.ended = True
            stream.pack.streaming = False
            stream.pack.file.rewind()

    def commit(self) -> None:
        """Make everything written so far durable, and seal what is full. What failed shows in the receipts."""
        for pack in tuple(self._packs):
            reason = None if pack.streaming else self._reason(pack)
            if pack.file.instances == 0 and not pack.streaming:
                self._remove(pack)
            elif reason is None:
                pack.file.sync()
            else:
                self._seal(pack, reason)
            if pack.file.broken is not None:
                self._set_aside(pack)
        self._sum_up()

    def seal_due(self) -> None:
        """Mark what is old enough to be sealed by the next commit."""
        now = time.monotonic()
        for pack in self._packs:
            if pack.due <= now:
                self._mark(pack, SealReason.AGE)

    def seal_all(self) -> None:
        """Mark all packs to be sealed by the next commit and drop what is unfinished: the association has ended."""
        for pack in self._packs:
            if pack.streaming:
                pack.streaming = False
                pack.file.rewind()
            self._mark(pack, SealReason.END)

    def _reason(self, pack: OpenPack) -> SealReason | None:
        if pack.seal_reason is not None:
            return pack.seal_reason
        if pack.file.size >= self._limits.size:
            return SealReason.SIZE
        return SealReason.COMMIT if self._limits.each_commit else None

    def _pack_of(self, identity: Identity, instance: IncomingInstance, digest: bytes | None) -> OpenPack:
        series = (identity.study_uid, identity.series_uid)
        pack = self._by_series.get(series)
        if pack is None or pack.streaming or pack.file.broken is not None:
            return self._open(series, instance)
        known = pack.digests.get(instance.sop_uid)
        if known is None or known == digest:
            return pack
        self._mark(pack, SealReason.SAME_NAME)
        return self._open(series, instance)

    def _open(self, series: tuple[str, str] | None, instance: IncomingInstance) -> OpenPack:
        if len(self._packs) >= MAX_OPEN:
            self._mark(min(self._packs, key=lambda pack: (pack.streaming, pack.due)), SealReason.LIMIT)
        try:
            file = PackFile(self._folder, self._disk)
        except OSError as error:
            raise SpoolFailed(f"no new file in the spool: {error.strerror or error}") from error
        pack = OpenPack(file, series, instance.received_at, time.monotonic() + self._limits.seconds)
        self._packs.append(pack)
        if series is not None:
            self._by_series[series] = pack
        return pack

    def _added(self, pack: OpenPack, instance: IncomingInstance, digest: bytes, size: int) -> WriteReceipt:
        pack.digests[instance.sop_uid] = digest
        self.written += size
        return WriteReceipt(pack, pack.file.size)

    def _identify(self, stream: MemberStream) -> tuple[str, str]:
        with stream.pack.file.mapped(stream.head, stream.length - stream.head) as view:
            identity = peek_identity(view, stream.instance.transfer_syntax, complete=True)
        if identity is None:
            raise WrongInstance("(0020,000E) Series Instance UID was not found")
        stream.instance.check(identity)
        return identity.study_uid, identity.series_uid

    def _mark(self, pack: OpenPack, reason: SealReason) -> None:
        """Add nothing more to a pack; the next commit seals it, once no instance is being written into it."""
        pack.seal_reason = pack.seal_reason or reason
        if pack.series is not None and self._by_series.get(pack.series) is pack:
            del self._by_series[pack.series]

    def _seal(self, pack: OpenPack, reason: SealReason) -> None:
        path = pack.file.seal()
        if path is None or pack.series is None:
            return
        self._forget(pack)
        sealed = SealedPack(
            pack_id=pack.file.pack_id,
            path=path.relative_to(self._root).as_posix(),
            study_uid=pack.series[0],
            series_uid=pack.series[1],
            calling_aet=self._sender.calling_aet,
            remote_host=self._sender.remote_host,
            received_at=datetime.fromtimestamp(pack.received_at, UTC),
            instances=pack.file.instances,
            size=pack.file.size + len(END_OF_ARCHIVE),
            correlation_id=self._sender.correlation_id,
            traceparent=self._sender.traceparent,
        )
        pack.sealed = sealed
        self.sealed.append((sealed, reason))

    def _set_aside(self, pack: OpenPack) -> None:
        """Leave what was acknowledged of a file that cannot be written any more to `salvage`."""
        self._forget(pack)
        pack.file.truncate_to_durable()
        self.broken.append(pack.file)

    def _remove(self, pack: OpenPack) -> None:
        self._forget(pack)
        try:
            pack.file.discard()
        except OSError:
            self.broken.append(pack.file)

    def _forget(self, pack: OpenPack) -> None:
        self._packs.remove(pack)
        if pack.series is not None and self._by_series.get(pack.series) is pack:
            del self._by_series[pack.series]

    def _sum_up(self) -> None:
        self.open_bytes = sum(pack.file.size for pack in self._packs)
        self.open_count = len(self._packs)
        self.open_since = min((pack.received_at for pack in self._packs), default=None)
        self.next_due = min((pack.due for pack in self._packs if pack.seal_reason is None), default=None)
