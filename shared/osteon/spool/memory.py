"""How much of arriving instances is kept in memory: much while there is room, little when many arrive at once."""

from typing import Final

LARGE: Final = 1 << 20
"""Bytes of an instance that are gathered before it goes to the disk in pieces."""
SMALL: Final = 64 << 10
"""The same when the budget is used up."""


class Memory:
    """Counts the bytes that all associations hold. Used on the event loop only."""

    def __init__(self, budget: int) -> None:
        self.held = 0
        self._budget = budget

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
