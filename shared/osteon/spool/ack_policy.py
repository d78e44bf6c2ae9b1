"""When a stored instance is acknowledged: once it is on disk, or once it is indexed (`OSTEON_ACK_AFTER=index`)."""

import asyncio
from typing import Protocol

from osteon.spool.errors import NotIndexed, SpoolFailed
from osteon.spool.open_pack import OpenPack


class AckPolicy(Protocol):
    """Decides how long the C-STORE responses for the instances of a pack wait, once the pack is on disk."""

    def expect(self, pack_id: str) -> None:
        """A pack was sealed and will be published next."""

    async def wait(self, pack: OpenPack) -> None:
        """Return once the instances of `pack` may be acknowledged; raises `NotIndexed`."""


class AckOnDisk:
    """Acknowledges as soon as the pack is on disk."""

    def expect(self, pack_id: str) -> None:
        """Do nothing: `wait` needs no preparation."""

    async def wait(self, pack: OpenPack) -> None:
        """Return at once: the pack is on disk."""


class AckOnIndex:
    """Acknowledges when `pack_indexed` is called for the pack, and fails after `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._expected: dict[str, asyncio.Future[bool]] = {}

    def expect(self, pack_id: str) -> None:
        """Prepare to wait before the pack is published: it may be indexed at once."""
        loop = asyncio.get_running_loop()
        self._expected[pack_id] = loop.create_future()
        loop.call_later(self._timeout, self._resolve, pack_id, False)

    def pack_indexed(self, pack_id: str) -> None:
        """Note that a pack has its rows; packs of other processes are ignored."""
        self._resolve(pack_id, True)

    async def wait(self, pack: OpenPack) -> None:
        """Wait until the pack is indexed."""
        if pack.sealed is None:
            raise SpoolFailed(f"the pack could not be sealed: {pack.file.broken}")
        future = self._expected.get(pack.sealed.pack_id)
        if future is None:
            return
        if not await asyncio.shield(future):
            raise NotIndexed(f"stored, but not indexed within {self._timeout:g} s; send again")

    def _resolve(self, pack_id: str, done: bool) -> None:
        future = self._expected.pop(pack_id, None)
        if future is not None:
            future.set_result(done)
