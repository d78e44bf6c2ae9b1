"""Announces sealed packs, oldest first, until somebody has taken them: the spool is the memory, not this process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from osteon import metrics
from osteon.errors import Unavailable
from osteon.logging import get_logger
from osteon.spool.sealed import SealedPack

BACKOFF: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts while packs can not be published; the last one repeats."""

log = get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    pack: SealedPack
    patience: float
    published: float | None = None
    failed: bool = False


def show(state: str, count: int, oldest: float | None) -> None:
    """Set the gauges of the packs in one state; `oldest` in Unix seconds, None when there are none."""
    metrics.SPOOL_PACKS.labels(state=state).set(count)
    metrics.SPOOL_OLDEST_PACK_AGE_SECONDS.labels(state=state).set(
        0 if oldest is None else max(0.0, time.time() - oldest)
    )


class Outbox:
    """Knows the sealed packs that are in the spool, and publishes those that were not.

    `publish` returns once the pack's message is safe. A pack whose file is still there `again_after` seconds later is
    published again, for the queue that held its message may be lost; then after twice that time, and so on.
    """

    def __init__(self, publish: Callable[[SealedPack], Awaitable[None]], *, again_after: float = 600.0) -> None:
        self._publish = publish
        self._again_after = again_after
        self._entries: dict[str, _Entry] = {}
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, pack: SealedPack) -> None:
        """Publish a pack as soon as it can be done."""
        self._entries.setdefault(pack.path, _Entry(pack, self._again_after))
        self._idle.clear()
        self._changed.set()

    def gone(self, paths: Iterable[str]) -> None:
        """Forget packs whose files are no longer there."""
        for path in paths:
            self._entries.pop(path, None)

    def paths(self) -> list[str]:
        """Return the paths of all packs that are known to be in the spool."""
        return list(self._entries)

    def repeat(self) -> None:
        """Publish again what should have been taken long ago."""
        now = time.monotonic()
        for entry in self._entries.values():
            if entry.published is not None and now - entry.published >= entry.patience:
                log.warning("pack not taken, published again", pack=entry.pack.pack_id)
                entry.published = None
                entry.patience *= 2
                self._changed.set()

    async def run(self) -> None:
        """Publish for ever."""
        attempt = 0
        while True:
            failed = await self._round()
            if failed:
                await asyncio.sleep(BACKOFF[min(attempt, len(BACKOFF) - 1)])
                attempt += 1
                continue
            attempt = 0
            if not self._changed.is_set():
                self._idle.set()
                await self._changed.wait()

    async def flush(self, seconds: float) -> bool:
        """Wait until everything is published, at most for so long; return whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def account(self) -> int:
        """Set the gauges of sealed packs; return their bytes."""
        by_state: dict[str, list[SealedPack]] = {"sealed": [], "published": []}
        for entry in self._entries.values():
            by_state["sealed" if entry.published is None else "published"].append(entry.pack)
        for state, packs in by_state.items():
            oldest = min((pack.received_at.timestamp() for pack in packs), default=None)
            show(state, len(packs), oldest)
        return sum(entry.pack.size for entry in self._entries.values())

    async def _round(self) -> bool:
        """Publish what waits; return whether something has to wait longer."""
        self._changed.clear()
        waiting = sorted(
            (entry for entry in self._entries.values() if entry.published is None),
            key=lambda entry: (entry.failed, entry.pack.received_at, entry.pack.pack_id),
        )
        failed = False
        for entry in waiting:
            if entry.pack.path not in self._entries:
                continue
            try:
                await self._publish(entry.pack)
            except Unavailable as error:
                log.warning("packs wait in the spool", waiting=len(waiting), error=str(error))
                return True
            except Exception:
                log.exception("pack not published, tried again later", pack=entry.pack.pack_id)
                entry.failed = failed = True
                continue
            entry.published = time.monotonic()
        return failed
