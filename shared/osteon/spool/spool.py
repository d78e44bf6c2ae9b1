"""The spool of one process: its associations, the outbox, and the recovery of what other processes left behind.

Open it on a running event loop; the caller says what to do with sealed packs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from osteon import metrics
from osteon.dimse.handler import AssociationInfo
from osteon.logging import get_logger
from osteon.spool.ack_policy import AckOnDisk, AckOnIndex
from osteon.spool.admission import Admission, usage
from osteon.spool.adoption import Adoption
from osteon.spool.association_spool import AssociationSpool, SpoolContext
from osteon.spool.buffer_pool import BufferPool
from osteon.spool.disk import Disk
from osteon.spool.errors import SpoolFailed
from osteon.spool.folders import SpoolFolder
from osteon.spool.group_commit import GroupCommitter
from osteon.spool.open_packs import PackLimits
from osteon.spool.outbox import Outbox, set_gauges
from osteon.spool.pack_file import PackFile
from osteon.spool.recovery import RecoveryResult, recover, salvage
from osteon.spool.sealed_pack import SealedPack

Publish = Callable[[SealedPack], Awaitable[None]]
"""Returns once the broker has the message about a sealed pack; raises `Unavailable` when it cannot be sent now."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """How a spool works. Sizes in bytes, times in seconds.

    Attributes:
        high_water: part of the file system that may be in use before instances are refused.
        quota: bytes that all packs of the spool may have before instances are refused; 0: no quota.
        wait_for_index: acknowledge an instance once `Spool.pack_indexed` was called for its pack, or refuse it after so
            many seconds; None: acknowledge it once it is on the disk.
        memory: bytes of arriving instances that may be buffered before large ones are written in small pieces.
        workers: threads that write.
        adopt_every, sweep_every: pauses between looking for orphaned folders, and for packs that were taken.
    """

    root: Path
    high_water: float = 0.9
    quota: int = 0
    pack_size: int = 64 << 20
    pack_seconds: float = 2.0
    wait_for_index: float | None = None
    memory: int = 256 << 20
    workers: int = 8
    adopt_every: float = 10.0
    sweep_every: float = 1.0
    republish_after: float = 600.0


class Spool:
    """An open spool: see `Spool.open`.

    Attributes:
        buffers: the memory of instances that arrive.
        outbox: the sealed packs.
        broken: files that cannot be written any more, until what was acknowledged of them is sealed.
    """

    def __init__(self, config: SpoolConfig, folder: SpoolFolder, publish: Publish, disk: Disk) -> None:
        self._config = config
        self._folder = folder
        self._disk = disk
        self.outbox = Outbox(publish, republish_after=config.republish_after)
        self._adoption = Adoption(config.root, disk, self.outbox.add)
        self._admission = Admission(config.root, disk, high_water=config.high_water, quota=config.quota)
        self._ack_on_index = None if config.wait_for_index is None else AckOnIndex(config.wait_for_index)
        self.buffers = BufferPool(config.memory)
        self._committer = GroupCommitter(config.workers)
        self._context = SpoolContext(
            folder=folder,
            limits=PackLimits(config.pack_size, config.pack_seconds, each_commit=self._ack_on_index is not None),
            disk=disk,
            committer=self._committer,
            buffers=self.buffers,
            admission=self._admission,
            ack_policy=self._ack_on_index or AckOnDisk(),
            on_sealed=self.outbox.add,
            on_broken=self._quarantine,
        )
        self._associations: set[AssociationSpool] = set()
        self.broken: list[PackFile] = []
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, config: SpoolConfig, publish: Publish, *, disk: Disk | None = None) -> "Spool":
        """Create a folder in the spool, adopt the orphaned ones, and begin to publish.

        Raises `SpoolFailed` when the folder cannot be used.
        """
        disk = disk or Disk()
        try:
            folder = await asyncio.to_thread(SpoolFolder.create, config.root, disk)
        except OSError as error:
            raise SpoolFailed(f"the spool {config.root} cannot be used (OSTEON_SPOOL_DIR): {error}") from error
        spool = cls(config, folder, publish, disk)
        await spool.measure()
        spool._start()
        return spool

    def open_association(self, info: AssociationInfo) -> AssociationSpool:
        """Return the spool of one association."""
        association = AssociationSpool(info, self._context)
        self._associations.add(association)
        return association

    async def close_association(self, association: AssociationSpool) -> None:
        """Seal what an association sent; on return it is in the outbox."""
        self._associations.discard(association)
        await association.close()

    def pack_indexed(self, pack_id: str) -> None:
        """Acknowledge the instances of a pack that wait for its rows."""
        if self._ack_on_index is not None:
            self._ack_on_index.pack_indexed(pack_id)

    async def check(self) -> None:
        """Raise `SpoolFull` when instances are refused (for `/readyz`)."""
        self._admission.check()

    async def close(self, grace: float = 0.0) -> None:
        """Seal everything, publish for at most `grace` seconds, and leave the rest to the next process."""
        closing = map(self.close_association, tuple(self._associations))
        for failure in await asyncio.gather(*closing, return_exceptions=True):
            if failure is not None:
                log.error("packs not sealed, left to the next process", exc_info=failure)
        if not await self.outbox.flush(grace):
            log.warning("packs not published, left to the next process", packs=len(self.outbox.paths()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._committer.close)
        await self._adoption.release()
        await asyncio.to_thread(self._folder.release)

    async def measure(self) -> None:
        """Remove from the outbox what the writer has taken, and set the gauges."""
        taken = await asyncio.to_thread(_absent, self._config.root, self.outbox.paths())
        self.outbox.remove(taken)
        self.outbox.republish_stale()
        if self._config.quota:
            unmeasured = self._admission.unmeasured
            self._admission.set_used(await asyncio.to_thread(usage, self._config.root), unmeasured)
        packs = [association.packs for association in self._associations]
        oldest = min((p.open_since for p in packs if p.open_since is not None), default=None)
        set_gauges("open", sum(p.open_count for p in packs), oldest)
        metrics.SPOOL_BYTES.set(self.outbox.set_gauges() + sum(p.open_bytes for p in packs))
        self._admission.set_gauges()

    def _start(self) -> None:
        self._tasks = [
            asyncio.create_task(self.outbox.run()),
            asyncio.create_task(_every(self._config.sweep_every, self.measure)),
            asyncio.create_task(_every(self._config.adopt_every, self._adoption.run_once)),
            asyncio.create_task(_every(self._config.sweep_every, self._seal_broken)),
        ]

    def _quarantine(self, file: PackFile) -> None:
        log.error("pack cannot be written any more", pack=file.pack_id, error=str(file.broken), kept=file.durable)
        self.broken.append(file)

    async def _seal_broken(self) -> None:
        for file in tuple(self.broken):
            try:
                recovered = await asyncio.to_thread(self._recover, file)
            except Exception as error:  # it must not keep the files beside it from being sealed
                log.error("acknowledged instances not sealed, retrying", pack=file.pack_id, exc_info=error)
                continue
            self.broken.remove(file)
            metrics.SPOOL_RECOVERED.inc()
            if recovered.pack is not None:
                self.outbox.add(recovered.pack)

    def _recover(self, file: PackFile) -> RecoveryResult:
        """Seal what was acknowledged: in a copy when a sync of the file has failed."""
        if file.sync_failed or file.durable == 0:
            return salvage(file.path, self._config.root, self._disk, limit=file.durable)
        return recover(file.path, self._config.root, self._disk)


async def _every(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    """Repeat `action` forever; what fails now is retried next time."""
    while True:
        try:
            await action()
        except Exception:
            log.exception("spool maintenance failed, retrying", after=seconds)
        await asyncio.sleep(seconds)


def _absent(root: Path, paths: list[str]) -> list[str]:
    """Return which of `paths` are absent, listing each folder once; raises `OSError` when one cannot be listed."""
    present: dict[Path, set[str]] = {}
    absent = []
    for relative in paths:
        path = root / relative
        if path.parent not in present:
            # Not by glob: for it, a folder that cannot be read is empty.
            try:
                present[path.parent] = {each.name for each in path.parent.iterdir()}
            except FileNotFoundError:
                present[path.parent] = set()
        if path.name not in present[path.parent]:
            absent.append(relative)
    return absent
