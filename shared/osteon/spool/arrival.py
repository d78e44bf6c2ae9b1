"""Answers that wait until the archive has indexed a pack (`OSTEON_ACK_AFTER=index`), and those that do not."""

import asyncio
from typing import Protocol

from osteon.spool.errors import NotIndexed, SpoolFailed
from osteon.spool.open_pack import OpenPack


class Arrivals(Protocol):
    """What stands between a pack on the disk and the answer to its instances."""

    def expect(self, pack_id: str) -> None:
        """A pack was sealed and will be published next."""

    async def arrived(self, pack: OpenPack) -> None:
        """Return once the instances of `pack` may be acknowledged; raises `NotIndexed`."""


class OnDisk:
    """Answers at once."""

    def expect(self, pack_id: str) -> None:
        """Nothing to wait for."""

    async def arrived(self, pack: OpenPack) -> None:
        """The disk is enough."""


class Indexed:
    """Answers when `indexed` is called for the pack, and fails after `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._expected: dict[str, asyncio.Future[bool]] = {}

    def expect(self, pack_id: str) -> None:
        """Begin to wait, before the pack is published: its way may be short."""
        loop = asyncio.get_running_loop()
        self._expected[pack_id] = loop.create_future()
        loop.call_later(self._timeout, self._end, pack_id, False)

    def indexed(self, pack_id: str) -> None:
        """A pack has its rows; those of others are of no interest here."""
        self._end(pack_id, True)

    async def arrived(self, pack: OpenPack) -> None:
        """Wait for the pack's rows."""
        if pack.sealed is None:
            raise SpoolFailed(f"the pack could not be sealed: {pack.file.broken}")
        future = self._expected.get(pack.sealed.pack_id)
        if future is None:
            return
        if not await asyncio.shield(future):
            raise NotIndexed(f"stored, but not indexed within {self._timeout:g} s; send again")

    def _end(self, pack_id: str, done: bool) -> None:
        future = self._expected.pop(pack_id, None)
        if future is not None:
            future.set_result(done)
