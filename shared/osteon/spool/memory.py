"""How much of arriving instances is kept in memory: much while there is room, little when many arrive at once."""

from typing import Final

LARGE: Final = 1 << 20
"""Bytes of an instance that are gathered before it goes to the disk in pieces."""
SMALL: Final = 64 << 10
"""The same when the budget is used up."""


KEPT: Final = 32
"""Buffers that are kept for the next instance: fresh memory costs as much as copying into it."""


class Memory:
    """Lends buffers, and counts the bytes that all associations hold. Used on the event loop only."""

    def __init__(self, budget: int) -> None:
        self.held = 0
        self._budget = budget
        self._free: list[bytearray] = []

    def lend(self) -> bytearray:
        """Return a buffer of `LARGE` bytes, of any content."""
        return self._free.pop() if self._free else bytearray(LARGE)

    def take_back(self, buffer: bytearray) -> None:
        """Lend this buffer to the next one who asks."""
        if len(self._free) < KEPT:
            self._free.append(buffer)

    @property
    def threshold(self) -> int:
        """Bytes that one instance may gather now."""
        return LARGE if self.held <= self._budget else SMALL

    def take(self, size: int) -> None:
        """Count bytes that came in."""
        self.held += size

    def give(self, size: int) -> None:
        """Count bytes that were let go."""
        self.held -= size
