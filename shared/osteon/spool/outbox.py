"""Publishes sealed packs, oldest first, until the writer has taken them: the spool is the memory, not this process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from osteon import metrics
from osteon.backoff import retry_forever
from osteon.errors import Unavailable
from osteon.logging import get_logger
from osteon.spool.sealed_pack import SealedPack

_FIRST_PAUSE, _MAX_PAUSE = 0.25, 10.0
"""Seconds between attempts while packs cannot be published."""

log = get_logger(__name__)


class _NotPublished(Exception):
    """Some packs were not published."""


@dataclass(slots=True)
class _Entry:
    pack: SealedPack
    republish_after: float
    published: float | None = None
    failed: bool = False


def set_gauges(state: str, count: int, oldest: float | None) -> None:
    """Set the gauges of the packs in one state; `oldest` in Unix seconds, None when there are none."""
    metrics.SPOOL_PACKS.labels(state=state).set(count)
    metrics.SPOOL_OLDEST_PACK_AGE_SECONDS.labels(state=state).set(
        0 if oldest is None else max(0.0, time.time() - oldest)
    )


class Outbox:
    """Knows the sealed packs that are in the spool, and publishes those that were not.

    `publish` returns once the broker has the pack's message. A pack whose file is still there `republish_after` seconds
    later is published again, as the queue that held its message may be lost; then after twice that time, and so on.
    """

    def __init__(self, publish: Callable[[SealedPack], Awaitable[None]], *, republish_after: float = 600.0) -> None:
        self._publish = publish
        self._republish_after = republish_after
        self._entries: dict[str, _Entry] = {}
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, pack: SealedPack) -> None:
        """Publish a pack as soon as possible."""
        self._entries.setdefault(pack.path, _Entry(pack, self._republish_after))
        self._idle.clear()
        self._changed.set()

    def remove(self, paths: Iterable[str]) -> None:
        """Remove packs whose files are gone."""
        for path in paths:
            self._entries.pop(path, None)

    def paths(self) -> list[str]:
        """Return the paths of all sealed packs that are in the spool."""
        return list(self._entries)

    def republish_stale(self) -> None:
        """Publish again the packs that were published long ago and are still there."""
        now = time.monotonic()
        for entry in self._entries.values():
            if entry.published is not None and now - entry.published >= entry.republish_after:
                log.warning("pack not taken by the writer, republishing", pack=entry.pack.pack_id)
                entry.published = None
                entry.republish_after *= 2
                self._changed.set()

    async def run(self) -> None:
        """Publish the packs that are added, until cancelled."""
        while True:
            async for attempt in retry_forever(_NotPublished, first=_FIRST_PAUSE, longest=_MAX_PAUSE):
                with attempt:
                    await self._publish_waiting()
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

    def set_gauges(self) -> int:
        """Set the gauges of sealed packs; return their bytes."""
        by_state: dict[str, list[SealedPack]] = {"sealed": [], "published": []}
        for entry in self._entries.values():
            by_state["sealed" if entry.published is None else "published"].append(entry.pack)
        for state, packs in by_state.items():
            oldest = min((pack.received_at.timestamp() for pack in packs), default=None)
            set_gauges(state, len(packs), oldest)
        return sum(entry.pack.size for entry in self._entries.values())

    async def _publish_waiting(self) -> None:
        """Publish the packs that wait; raises `_NotPublished` when some of them have to wait longer."""
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
                log.warning("packs not published, retrying", waiting=len(waiting), error=str(error))
                raise _NotPublished from error
            except Exception:
                log.exception("pack not published, retrying later", pack=entry.pack.pack_id)
                entry.failed = failed = True
                continue
            entry.published = time.monotonic()
        if failed:
            raise _NotPublished
