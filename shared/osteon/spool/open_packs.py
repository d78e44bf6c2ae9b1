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
from osteon.spool.instance import Announced
from osteon.spool.open_pack import OpenPack, Stream, Ticket
from osteon.spool.pack import Buffer, PackFile
from osteon.spool.sealed import Reason, SealedPack

MAX_OPEN: Final = 16
"""Open packs of one association; a sender that mixes more series than that gets smaller packs."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Where the packs of an association come from."""

    correlation_id: str
    calling_aet: str
    remote_host: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a pack is sealed: at `size` bytes, `seconds` after its first instance, or with every commit."""

    size: int
    seconds: float
    each_commit: bool = False


class OpenPacks:
    """Takes the instances of one association.

    Attributes:
        sealed: packs that were sealed and not yet fetched, with the reason; another thread may `popleft`.
        broken: files that hold acknowledged instances and can not be sealed as they are; likewise.
        next_due: monotonic time at which a pack must be sealed, None while none is open.
        open_bytes, open_count: of the packs that are open now.
        open_since: when the first instance of the oldest of them came, Unix seconds; None while none is open.
        written: bytes of all members so far.
    """

    def __init__(self, root: Path, folder: Path, sender: Sender, limits: Limits, disk: Disk) -> None:
        self.sealed: deque[tuple[SealedPack, Reason]] = deque()
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

    def append(self, announced: Announced, data: Buffer) -> Ticket:
        """Write a whole instance into the pack of its series.

        Raises `WrongInstance`, `osteon.errors.Invalid` for a data set without its UIDs, and `SpoolFailed`.
        """
        announced.check_uids()
        identity = peek_identity(data, announced.transfer_syntax, complete=True)
        if identity is None:
            raise WrongInstance("(0020,000E) Series Instance UID was not found")
        announced.check(identity)
        digest = hashlib.sha256(data).digest()
        pack = self._pack_of(identity, announced, digest)
        if pack.digests.get(announced.sop_uid) == digest:
            return Ticket(pack, pack.file.size)
        size = pack.file.append(announced.member_name, announced.received_at, announced.file_header(digest), data)
        return self._added(pack, announced, digest, size)

    def begin(self, announced: Announced, data: Buffer) -> Stream:
        """Begin to write a large instance of which `data` are the first bytes. Raises as `append` does."""
        announced.check_uids()
        identity = peek_identity(data, announced.transfer_syntax, complete=False)
        if identity is not None:
            announced.check(identity)
        if identity is None:
            pack = self._open(None, announced)
        elif self._limits.each_commit:  # its end may be far, and answers wait for what the pack holds already
            pack = self._open((identity.study_uid, identity.series_uid), announced)
        else:
            pack = self._pack_of(identity, announced, None)
        stream = Stream(pack, announced)
        pack.streaming = True
        try:
            stream.write(data)
        except SpoolFailed:
            self.abort(stream)
            raise
        return stream

    def extend(self, stream: Stream, data: Buffer) -> None:
        """Write the next bytes of a large instance; after `SpoolFailed` the stream has been aborted."""
        try:
            stream.write(data)
        except SpoolFailed:
            self.abort(stream)
            raise

    def end(self, stream: Stream, data: Buffer) -> Ticket:
        """Write the last bytes of a large instance. Raises as `append` does; then the stream has been aborted."""
        try:
            stream.write(data)
            digest = stream.finish()
            if stream.pack.series is None:
                stream.pack.series = self._identify(stream)
                stream.pack.seal_reason = Reason.LARGE
        except BaseException:
            self.abort(stream)
            raise
        stream.ended = True
        stream.pack.streaming = False
        size = stream.pack.file.complete(stream.length)
        return self._added(stream.pack, stream.announced, digest, size)

    def abort(self, stream: Stream) -> None:
        """Drop a large instance that will not be completed."""
        if not stream.ended:
            stream.ended = True
            stream.pack.streaming = False
            stream.pack.file.rewind()

    def commit(self) -> None:
        """Make everything written so far durable, and seal what is full. What failed shows in the tickets."""
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
        self._account()

    def seal_due(self) -> None:
        """Mark what is old enough for the commit that follows."""
        now = time.monotonic()
        for pack in self._packs:
            if pack.due <= now:
                self._mark(pack, Reason.AGE)

    def seal_all(self) -> None:
        """Mark everything for the commit that follows: the association has ended, and what is not whole is dropped."""
        for pack in self._packs:
            if pack.streaming:
                pack.streaming = False
                pack.file.rewind()
            self._mark(pack, Reason.END)

    def _reason(self, pack: OpenPack) -> Reason | None:
        if pack.seal_reason is not None:
            return pack.seal_reason
        if pack.file.size >= self._limits.size:
            return Reason.SIZE
        return Reason.COMMIT if self._limits.each_commit else None

    def _pack_of(self, identity: Identity, announced: Announced, digest: bytes | None) -> OpenPack:
        series = (identity.study_uid, identity.series_uid)
        pack = self._by_series.get(series)
        if pack is None or pack.streaming or pack.file.broken is not None:
            return self._open(series, announced)
        known = pack.digests.get(announced.sop_uid)
        if known is None or known == digest:
            return pack
        self._mark(pack, Reason.SAME_NAME)
        return self._open(series, announced)

    def _open(self, series: tuple[str, str] | None, announced: Announced) -> OpenPack:
        if len(self._packs) >= MAX_OPEN:
            self._mark(min(self._packs, key=lambda pack: (pack.streaming, pack.due)), Reason.LIMIT)
        try:
            file = PackFile(self._folder, self._disk)
        except OSError as error:
            raise SpoolFailed(f"no new file in the spool: {error.strerror or error}") from error
        pack = OpenPack(file, series, announced.received_at, time.monotonic() + self._limits.seconds)
        self._packs.append(pack)
        if series is not None:
            self._by_series[series] = pack
        return pack

    def _added(self, pack: OpenPack, announced: Announced, digest: bytes, size: int) -> Ticket:
        pack.digests[announced.sop_uid] = digest
        self.written += size
        return Ticket(pack, pack.file.size)

    def _identify(self, stream: Stream) -> tuple[str, str]:
        with stream.pack.file.mapped(stream.head, stream.length - stream.head) as view:
            identity = peek_identity(view, stream.announced.transfer_syntax, complete=True)
        if identity is None:
            raise WrongInstance("(0020,000E) Series Instance UID was not found")
        stream.announced.check(identity)
        return identity.study_uid, identity.series_uid

    def _mark(self, pack: OpenPack, reason: Reason) -> None:
        """Let nothing more into a pack; the next commit seals it, once no instance is being written into it."""
        pack.seal_reason = pack.seal_reason or reason
        if pack.series is not None and self._by_series.get(pack.series) is pack:
            del self._by_series[pack.series]

    def _seal(self, pack: OpenPack, reason: Reason) -> None:
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
        """Keep what was acknowledged of a file that can not be written any more for `salvage`."""
        self._forget(pack)
        pack.file.cut()
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

    def _account(self) -> None:
        self.open_bytes = sum(pack.file.size for pack in self._packs)
        self.open_count = len(self._packs)
        self.open_since = min((pack.received_at for pack in self._packs), default=None)
        self.next_due = min((pack.due for pack in self._packs if pack.seal_reason is None), default=None)
