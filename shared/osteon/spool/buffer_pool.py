"""Memory for arriving instances: large buffers while there is room, small ones when many arrive at once."""

from typing import Final

LARGE: Final = 1 << 20
"""Bytes of an instance that are buffered before it is written in pieces."""
SMALL: Final = 64 << 10
"""The same when the budget is used up."""

MAX_FREE: Final = {SMALL: 128, LARGE: 32}
"""Free buffers of each size that are kept: new memory costs as much as copying into it."""


class BufferPool:
    """A pool of buffers that counts the bytes which all associations hold. Use it on the event loop only."""

    def __init__(self, budget: int) -> None:
        self.held = 0
        self._budget = budget
        self._free: dict[int, list[bytearray]] = {SMALL: [], LARGE: []}

    def acquire(self, size: int) -> bytearray:
        """Return a buffer of any content for `size` bytes and more: `SMALL` if that is enough, else `LARGE`."""
        length = SMALL if size <= SMALL else LARGE
        free = self._free[length]
        return free.pop() if free else bytearray(length)

    def release(self, buffer: bytearray) -> None:
        """Give a buffer back for reuse."""
        free = self._free[len(buffer)]
        if len(free) < MAX_FREE[len(buffer)]:
            free.append(buffer)

    @property
    def threshold(self) -> int:
        """Bytes that one instance may buffer now."""
        return LARGE if self.held <= self._budget else SMALL

    def charge(self, size: int) -> None:
        """Count bytes that are buffered now."""
        self.held += size

    def uncharge(self, size: int) -> None:
        """Count bytes that are buffered no longer."""
        self.held -= size
