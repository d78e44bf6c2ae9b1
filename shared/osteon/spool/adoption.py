"""Takes over the folders of processes that have ended, and recovers the packs in them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from osteon import metrics
from osteon.logging import get_logger
from osteon.spool.disk import Disk
from osteon.spool.folders import SpoolFolder, files
from osteon.spool.paths import DAMAGED, OPEN, SEALED
from osteon.spool.recovery import recover
from osteon.spool.sealed_pack import SealedPack, SealReason

log = get_logger(__name__)


class Adoption:
    """Holds orphaned folders until they are empty. `on_pack` is called with each pack that is ready to be published."""

    def __init__(self, root: Path, disk: Disk, on_pack: Callable[[SealedPack], None]) -> None:
        self._root = root
        self._disk = disk
        self._on_pack = on_pack
        self._folders: list[SpoolFolder] = []
        self._seen: set[Path] = set()

    async def run_once(self) -> None:
        """Adopt the folders that are orphaned now, retry what failed before, and remove folders that are empty."""
        metrics.SPOOL_DAMAGED.set(await asyncio.to_thread(_count_damaged, self._root))
        for folder in await asyncio.to_thread(SpoolFolder.adopt, self._root):
            log.info("orphaned spool folder adopted", folder=folder.path.name)
            self._folders.append(folder)
        for folder in tuple(self._folders):
            files = await asyncio.to_thread(folder.files)
            for path in files:
                if path not in self._seen:
                    await self._recover(path)
            if not files:
                self._folders.remove(folder)
                await asyncio.to_thread(folder.release)
        self._seen = {path for path in self._seen if path.parent in {folder.path for folder in self._folders}}

    async def release(self) -> None:
        """Release all folders: another process may adopt what is left in them."""
        folders, self._folders = self._folders, []
        for folder in folders:
            await asyncio.to_thread(folder.release)

    async def _recover(self, path: Path) -> None:
        if not path.name.endswith((SEALED, OPEN)):
            level = log.error if path.name.endswith(DAMAGED) else log.warning
            level("unknown file in the spool, left for the operator", file=str(path.relative_to(self._root)))
            self._seen.add(path)
            return
        try:
            recovered = await asyncio.to_thread(recover, path, self._root, self._disk)
        except FileNotFoundError:  # stored meanwhile: its message had been published before
            return
        except Exception:  # it must not keep the packs beside it from being recovered
            log.exception("pack not recovered, retrying later", file=path.name)
            return
        self._seen.add(path)
        metrics.SPOOL_TORN.inc(recovered.torn)
        if recovered.pack is not None:
            self._seen.add(self._root / recovered.pack.path)
            metrics.SPOOL_RECOVERED.inc()
            metrics.PACKS_SEALED.labels(reason=SealReason.RECOVERED.value).inc()
            self._on_pack(recovered.pack)
        log.info("pack recovered", file=path.name, torn_bytes=recovered.torn, sealed=bool(recovered.pack))


def _count_damaged(root: Path) -> int:
    return sum(1 for path in files(root) if path.name.endswith(DAMAGED))
