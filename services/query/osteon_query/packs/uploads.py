"""Uploads by HTTP: Part 10 files → packs → object store → index, before the response.

The files of one request are gathered by series, and each pack goes out as soon as it is big enough, while the next
files arrive, so a request with any number of files needs little disk and no memory. Only so many requests are read at
the same time; others wait for their turn, with their bodies unread. A pack is announced only once it is in the store;
what is stored when a later step fails is found by the indexer's sweep.
"""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from osteon import metrics
from osteon.archive.pack_records import InstanceState
from osteon.archive.ports import PackOutcomes
from osteon.bus.port import Bus
from osteon.contracts.packs import Origin, PackIndexed, PackStored
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import Identity
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.packs import sidecar
from osteon.packs.errors import WrongInstance
from osteon.packs.ids import new_pack_id
from osteon.packs.pack_writer import Part10File, write_pack
from osteon.packs.refusal import count_refusal
from osteon.packs.upload import store_pack
from osteon_query.http.errors import TooLarge, UploadCapacityExceeded
from osteon_query.packs.body_files import ReceivedFile
from osteon_query.packs.part10 import examine
from osteon_query.packs.upload_result import UploadResult, UploadStatus, upload_status_of
from osteon_query.packs.upload_slots import UploadSlots

log = get_logger(__name__)

_OPEN_BYTES: Final = 256 << 20
_OPEN_SERIES: Final = 64
_LISTED_NAMELESS: Final = 1_000
"""Refused files without identity that a response lists."""
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_POLL_SECONDS: Final = 2.0
"""Seconds between polls of the index, in case an event was missed."""


@dataclass(slots=True)
class _Series:
    """Files of one series that wait to be packed."""

    study_uid: str
    series_uid: str
    files: dict[str, tuple[Path, UploadResult]] = field(default_factory=dict)
    size: int = 0


class Uploads:
    """Takes files, one `Upload` of at most `max_files` a request; `wait` is for the index.

    A pack goes out when it has `pack_size` bytes. A request waits `slot_seconds` for its turn.
    """

    def __init__(
        self,
        *,
        index: PackOutcomes,
        objects: Objects,
        bus: Bus,
        wait: float,
        folder: Path,
        slots: UploadSlots,
        max_files: int,
        pack_size: int,
        slot_seconds: float = 30.0,
    ) -> None:
        self._index = index
        self._objects = objects
        self._bus = bus
        self._wait = wait
        self.folder = folder
        self._awaited: dict[str, asyncio.Event] = {}
        self._slots = slots
        self.max_files = max_files
        self.pack_size = pack_size
        self.slot_seconds = slot_seconds
        self.parsing = asyncio.Lock()
        # One for all threads: each would remember as much again of the elements that repeat in a series.
        self.reader = HeaderReader()

    async def start(self) -> None:
        """Subscribe to packs that were indexed."""
        await self._bus.subscribe(PackIndexed, self._on_pack_indexed)

    @property
    def waiting(self) -> int:
        """How many packs are awaited in the index."""
        return len(self._awaited)

    async def _on_pack_indexed(self, message: PackIndexed) -> None:
        if (event := self._awaited.get(message.pack_id)) is not None:
            event.set()

    @asynccontextmanager
    async def open(self, correlation_id: str, remote_host: str, client: str) -> AsyncIterator["Upload"]:
        """Begin an upload of `client`, as slots are counted; its files are deleted at the end.

        Raises `BusUnavailable`, `ClientUploadsExceeded` and `UploadCapacityExceeded` before anything is read, and the
        latter when the disk is full.
        """
        await self._bus.check()
        await self._slots.acquire(client, self.slot_seconds)
        upload = None
        try:
            folder = await asyncio.to_thread(TemporaryDirectory, prefix="upload-", dir=self.folder)
            upload = Upload(self, folder, correlation_id, remote_host, client)
            yield upload
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            raise UploadCapacityExceeded(f"no space left for uploads in {self.folder} (TMPDIR)") from None
        finally:
            if upload is None:
                self._slots.release(client)
            else:
                await upload.close()
                for pack_id in upload.packs:
                    self._awaited.pop(pack_id, None)

    def release_slot(self, client: str) -> None:
        """Let the next request begin."""
        self._slots.release(client)

    async def store(self, tar: Path, facts: PackStored) -> None:
        """Put a pack with its sidecar into the object store, and announce it."""
        built = asyncio.to_thread(sidecar.build, tar, facts, self.reader)
        stored = await store_pack(tar, facts, built, self._objects)
        self._awaited[facts.pack_id] = asyncio.Event()
        await self._bus.publish(stored)
        log.info("pack stored", pack=facts.pack_id, instances=facts.instances, size=stored.size)

    async def outcomes(self, pack_ids: Iterable[str]) -> dict[str, dict[str, InstanceState]]:
        """Wait until the packs are indexed; what is not in time is left out."""
        deadline = time.monotonic() + self._wait
        # All first: what becomes of one can change while another one is indexed.
        indexed = [pack_id for pack_id in pack_ids if await self._indexed(pack_id, deadline)]
        return {pack_id: await self._outcome(pack_id, deadline) for pack_id in indexed}

    async def _outcome(self, pack_id: str, deadline: float) -> dict[str, InstanceState]:
        """Return what became of a pack: a conflict may still be compared, until the pack is announced as indexed."""
        states = await self._index.outcome(pack_id)
        if InstanceState.CONFLICT in states.values() and not self._awaited[pack_id].is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._awaited[pack_id].wait()
            states = await self._index.outcome(pack_id)
        return dict(states)

    async def _indexed(self, pack_id: str, deadline: float) -> bool:
        event = self._awaited[pack_id]
        while not event.is_set() and pack_id not in await self._index.known_packs([pack_id]):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(min(_POLL_SECONDS, left)):
                    await event.wait()
            except TimeoutError:
                continue
        return True


class Upload:
    """The files of one request. `packs` has what became of them: pack → SOP Instance UID → file."""

    def __init__(
        self, uploads: Uploads, folder: "TemporaryDirectory[str]", correlation_id: str, remote_host: str, client: str
    ) -> None:
        self._uploads = uploads
        self._temporary: TemporaryDirectory[str] | None = folder
        self._folder = Path(folder.name)
        self._correlation_id = correlation_id
        self._remote_host = remote_host
        self._client = client
        self._open: dict[tuple[str, str], _Series] = {}
        self.packs: dict[str, dict[str, UploadResult]] = {}
        self._files = self._nameless = 0
        self._storing: asyncio.Task[None] | None = None
        self.received: list[UploadResult] = []

    @property
    def parsing(self) -> asyncio.Lock:
        """Held while memory is needed for parsing: one request at a time."""
        return self._uploads.parsing

    @property
    def max_files(self) -> int:
        """Files that one request may have."""
        return self._uploads.max_files

    def new_path(self) -> Path:
        """Return the path of a file that does not exist yet, for the next one to add; raises `TooLarge`."""
        if self._files >= self._uploads.max_files:
            raise TooLarge(f"more than {self._uploads.max_files} files in one request (OSTEON_MAX_UPLOAD_FILES)")
        self._files += 1
        return self._folder / f"{self._files}.dcm"

    async def add(self, file: ReceivedFile, *, study_uid: str | None = None) -> None:
        """Take a file over. One that cannot be stored is refused by the `status` of its entry, not by an error."""
        path = file.path
        try:
            file.check()
            identity, size, problem = await asyncio.to_thread(examine, file, self._uploads.reader)
        except Invalid as error:
            self.refuse(error)
            await file.delete()
            return
        entry = UploadResult(UploadStatus.PENDING, identity, problem, size)
        self.received.append(entry)
        if study_uid is not None and identity.study_uid != study_uid:
            entry.status = UploadStatus.MISPLACED
            entry.detail = f"Study Instance UID (0020,000D) is {identity.study_uid}, the URL names {study_uid}"
            count_refusal(Origin.HTTP, WrongInstance(entry.detail))
            await asyncio.to_thread(path.unlink)
            return
        metrics.RECEIVED_INSTANCES.labels(Origin.HTTP, "").inc()
        metrics.RECEIVED_BYTES.labels(Origin.HTTP, "").inc(size)
        await self._gather(path, entry, identity)

    def refuse(self, error: Invalid, identity: Identity | None = None) -> None:
        """Note an instance of which no file can be made; of those without identity only the first are listed."""
        count_refusal(Origin.HTTP, error)
        if identity is None:
            self._nameless += 1
            if self._nameless > _LISTED_NAMELESS:
                return
        self.received.append(UploadResult(upload_status_of(error), identity, str(error)))

    async def _gather(self, path: Path, entry: UploadResult, identity: Identity) -> None:
        key = identity.study_uid, identity.series_uid
        series = self._open.setdefault(key, _Series(*key))
        if identity.sop_uid in series.files:
            await self._pack(self._open.pop(key))
            series = self._open[key] = _Series(*key)
        series.files[identity.sop_uid] = path, entry
        series.size += entry.size
        if series.size >= self._uploads.pack_size:
            await self._pack(self._open.pop(key))
        elif len(self._open) > _OPEN_SERIES or sum(s.size for s in self._open.values()) > _OPEN_BYTES:
            largest = max(self._open, key=lambda k: self._open[k].size)
            await self._pack(self._open.pop(largest))

    async def _pack(self, series: _Series) -> None:
        now = datetime.now(UTC)
        pack_id = new_pack_id()
        tar = self._folder / f"{pack_id}.tar"
        files = [Part10File(uid, path) for uid, (path, _) in series.files.items()]
        written = await asyncio.to_thread(write_pack, tar, files, received_at=now)
        await asyncio.to_thread(_unlink, [path for path, _ in series.files.values()])
        facts = PackStored(
            correlation_id=self._correlation_id,
            pack_id=pack_id,
            study_uid=series.study_uid,
            series_uid=series.series_uid,
            origin=Origin.HTTP,
            remote_host=self._remote_host,
            received_at=now,
            instances=written.instances,
            size=written.size,
        )
        self.packs[pack_id] = {uid: entry for uid, (_, entry) in series.files.items()}
        # One at a time: the disk holds incoming files and one outgoing pack.
        await self._finish_storing()
        self._storing = asyncio.create_task(self._store(tar, facts))

    async def _store(self, tar: Path, facts: PackStored) -> None:
        await self._uploads.store(tar, facts)
        await asyncio.to_thread(tar.unlink)

    async def _finish_storing(self) -> None:
        """Wait for the pack that is being stored; raises what went wrong with it."""
        if self._storing is not None:
            await self._storing
            self._storing = None

    async def finish(self) -> list[UploadResult]:
        """Store what is left, wait for the index, and return the result of every file in the order received."""
        for series in list(self._open.values()):
            await self._pack(series)
        self._open.clear()
        await self._finish_storing()
        # Waiting for the index takes neither disk nor memory.
        await self.close()
        for pack_id, states in (await self._uploads.outcomes(self.packs)).items():
            for uid, entry in self.packs[pack_id].items():
                if uid in states:
                    entry.status = UploadStatus(states[uid].value)
        return self.received

    async def close(self) -> None:
        """Cancel the pack that is being stored, delete the files and let the next request begin."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        folder, self._temporary = self._temporary, None
        if folder is not None:
            try:
                await asyncio.to_thread(folder.cleanup)
            finally:
                self._uploads.release_slot(self._client)


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
