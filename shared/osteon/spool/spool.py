"""The spool of one process: intakes for its associations, the outbox, and the care for what others left behind.

Open it on a running event loop; whoever opens it says what to do with sealed packs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from osteon import metrics
from osteon.dimse.handler import AssociationInfo
from osteon.logging import get_logger
from osteon.spool.admission import Admission, usage
from osteon.spool.adoption import Adoption
from osteon.spool.arrival import Indexed, OnDisk
from osteon.spool.committer import Committer
from osteon.spool.disk import Disk
from osteon.spool.errors import SpoolFailed
from osteon.spool.folders import Folder
from osteon.spool.intake import Intake, Parts
from osteon.spool.memory import Memory
from osteon.spool.open_packs import Limits
from osteon.spool.outbox import Outbox, show
from osteon.spool.pack import PackFile
from osteon.spool.recovery import Recovered, recover, salvage
from osteon.spool.sealed import SealedPack

Publish = Callable[[SealedPack], Awaitable[None]]
"""Returns once the message about a sealed pack is safe; raises `Unavailable` when it can not be sent now."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolConfig:
    """How a spool works. Sizes in bytes, times in seconds.

    Attributes:
        high_water: part of the file system that may be in use before instances are refused.
        quota: bytes that all packs of the spool may have before instances are refused; 0: no quota.
        wait_for_index: answer an instance once `Spool.indexed` was called for its pack, or refuse it after so long;
            None: answer once it is on the disk.
        memory: bytes of arriving instances that may be held before large ones go to the disk in small pieces.
        workers: threads that write.
        adopt_every, sweep_every: how often to look for orphaned folders, and for packs that were taken.
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
    """An open spool: see `Spool.open`."""

    def __init__(self, config: SpoolConfig, folder: Folder, publish: Publish, disk: Disk) -> None:
        self._config = config
        self._folder = folder
        self._disk = disk
        self._outbox = Outbox(publish, again_after=config.republish_after)
        self._adoption = Adoption(config.root, disk, self._outbox.add)
        self._admission = Admission(config.root, disk, high_water=config.high_water, quota=config.quota)
        self._indexed = None if config.wait_for_index is None else Indexed(config.wait_for_index)
        self._committer = Committer(config.workers)
        self._parts = Parts(
            folder=folder,
            limits=Limits(config.pack_size, config.pack_seconds, each_commit=self._indexed is not None),
            disk=disk,
            committer=self._committer,
            memory=Memory(config.memory),
            admission=self._admission,
            arrivals=self._indexed or OnDisk(),
            sealed=self._outbox.add,
            broken=self._spoiled,
        )
        self._intakes: set[Intake] = set()
        self._broken: list[PackFile] = []
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, config: SpoolConfig, publish: Publish, *, disk: Disk | None = None) -> "Spool":
        """Make a folder in the spool, adopt what is orphaned there, and begin to publish.

        Raises `SpoolFailed` when the folder can not be used.
        """
        disk = disk or Disk()
        try:
            folder = await asyncio.to_thread(Folder.create, config.root, disk)
        except OSError as error:
            raise SpoolFailed(f"the spool {config.root} can not be used (OSTEON_SPOOL_DIR): {error}") from error
        spool = cls(config, folder, publish, disk)
        await spool.measure()
        spool._start()
        return spool

    def intake(self, association: AssociationInfo) -> Intake:
        """Return the way in for the instances of one association."""
        intake = Intake(association, self._parts)
        self._intakes.add(intake)
        return intake

    async def end(self, intake: Intake) -> None:
        """Seal what an association sent; on return it is in the outbox."""
        self._intakes.discard(intake)
        await intake.close()

    def indexed(self, pack_id: str) -> None:
        """A pack has its rows: answers that wait for it may go."""
        if self._indexed is not None:
            self._indexed.indexed(pack_id)

    async def check(self) -> None:
        """Raise `SpoolFull` when instances are refused (for `/readyz`)."""
        self._admission.check()

    async def close(self, grace: float = 0.0) -> None:
        """Seal everything, publish for at most `grace` seconds, and let go: the rest is for who comes next."""
        for failure in await asyncio.gather(*map(self.end, tuple(self._intakes)), return_exceptions=True):
            if failure is not None:
                log.error("packs not sealed, left for the next process", exc_info=failure)
        if not await self._outbox.flush(grace):
            log.warning("packs stay in the spool for the next process", packs=len(self._outbox.paths()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._committer.close)
        await self._adoption.release()
        await asyncio.to_thread(self._folder.release)

    async def measure(self) -> None:
        """Find out what was taken and how much is held."""
        known = self._outbox.paths()
        gone = await asyncio.to_thread(_absent, self._config.root, known)
        self._outbox.gone(gone)
        self._outbox.repeat()
        if self._config.quota:
            since = self._admission.since
            self._admission.measured(await asyncio.to_thread(usage, self._config.root), since)
        packs = [intake.packs for intake in self._intakes]
        oldest = min((p.open_since for p in packs if p.open_since is not None), default=None)
        show("open", sum(p.open_count for p in packs), oldest)
        metrics.SPOOL_BYTES.set(self._outbox.account() + sum(p.open_bytes for p in packs))
        self._admission.account()

    def _start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._outbox.run()),
            asyncio.create_task(_every(self._config.sweep_every, self.measure)),
            asyncio.create_task(_every(self._config.adopt_every, self._adoption.look)),
            asyncio.create_task(_every(self._config.sweep_every, self._salvage)),
        ]

    def _spoiled(self, file: PackFile) -> None:
        log.error("pack can not be written any more", pack=file.pack_id, error=str(file.broken), kept=file.durable)
        self._broken.append(file)

    async def _salvage(self) -> None:
        for file in tuple(self._broken):
            try:
                recovered = await asyncio.to_thread(self._rescue, file)
            except Exception as error:  # whatever is wrong with it, the files beside it must go their way
                log.error("acknowledged instances can not be sealed yet", pack=file.pack_id, exc_info=error)
                continue
            self._broken.remove(file)
            metrics.SPOOL_RECOVERED.inc()
            if recovered.pack is not None:
                self._outbox.add(recovered.pack)

    def _rescue(self, file: PackFile) -> Recovered:
        """Seal what was acknowledged: in a copy when the file's own syncs can not be believed any more."""
        if file.distrusted or file.durable == 0:
            return salvage(file.path, self._config.root, self._disk, limit=file.durable)
        return recover(file.path, self._config.root, self._disk)


async def _every(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    """Repeat `action` for ever; what fails now is tried again next time."""
    while True:
        try:
            await action()
        except Exception:
            log.exception("care for the spool failed, tried again", after=seconds)
        await asyncio.sleep(seconds)


def _absent(root: Path, paths: list[str]) -> list[str]:
    """Return which of `paths` are not there, listing each folder once; raises `OSError` when one can not be listed."""
    present: dict[Path, set[str]] = {}
    gone = []
    for relative in paths:
        path = root / relative
        if path.parent not in present:
            # Not by glob, for which a folder that can not be read is an empty one.
            present[path.parent] = _names(path.parent)
        if path.name not in present[path.parent]:
            gone.append(relative)
    return gone


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
