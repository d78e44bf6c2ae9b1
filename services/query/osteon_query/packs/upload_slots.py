"""Whose turn it is to upload: so many requests at a time, and of each client so many."""

import asyncio
from collections import Counter

from osteon_query.http.errors import ClientUploadsExceeded, UploadCapacityExceeded


class UploadSlots:
    """Slots in the order of requests. A key that the caller chooses identifies a client: the address, a user."""

    def __init__(self, at_once: int, per_client: int) -> None:
        self._free = at_once
        self._per_client = per_client
        self._used: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], str] = {}

    async def acquire(self, client: str, seconds: float) -> None:
        """Wait for a slot.

        Raises `ClientUploadsExceeded` when the client's other uploads kept it from one, else `UploadCapacityExceeded`.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = client
        self._grant()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            if self._used[client] >= self._per_client:
                raise ClientUploadsExceeded(
                    f"too many concurrent uploads of {client or 'this client'} (OSTEON_MAX_UPLOADS_PER_CLIENT)"
                ) from None
            raise UploadCapacityExceeded("too many concurrent uploads (OSTEON_MAX_CONCURRENT_UPLOADS)") from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(client)
            raise
        finally:
            self._waiting.pop(turn, None)

    def release(self, client: str) -> None:
        """Let the next request begin."""
        self._free += 1
        self._used[client] -= 1
        if not self._used[client]:
            del self._used[client]
        self._grant()

    def _grant(self) -> None:
        for turn, client in list(self._waiting.items()):
            if not self._free:
                return
            if not turn.done() and self._used[client] < self._per_client:
                self._free -= 1
                self._used[client] += 1
                turn.set_result(None)
                del self._waiting[turn]
