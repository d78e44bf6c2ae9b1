"""Whether another instance may come in: checked for each C-STORE, so it is cheap; its figures are a moment old."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from osteon import metrics
from osteon.spool.disk import Disk
from osteon.spool.errors import SpoolFull
from osteon.spool.folders import files

_FRESH: Final = 0.25
"""Seconds for which the file system's figures are reused."""


class Admission:
    """Compares the file system with the high-water mark, and the spool with its quota.

    The spool is measured from time to time, which takes a while. Bytes that arrive meanwhile count twice rather than
    not at all, until the next measurement.
    """

    def __init__(self, root: Path, disk: Disk, *, high_water: float, quota: int) -> None:
        self.quota = quota
        self._root = root
        self._disk = disk
        self._high_water = high_water
        self._used = 0
        self._unmeasured = 0
        self._refreshed = float("-inf")
        self._share = 0.0
        self._filled = self._total = 0

    @property
    def unmeasured(self) -> int:
        """Bytes that arrived and are in no measurement yet; read it before measuring."""
        return self._unmeasured

    def set_used(self, used: int, measured: int) -> None:
        """Set the bytes that the spool holds; `measured` is `unmeasured` as it was before measuring."""
        self._used = used
        self._unmeasured -= measured

    def add(self, size: int) -> None:
        """Count bytes that arrived since the last measurement."""
        self._unmeasured += size

    def check(self) -> None:
        """Raise `SpoolFull` when there is no room; the message says which setting decides."""
        if self.quota and self._used + self._unmeasured >= self.quota:
            raise SpoolFull(f"spool is full: OSTEON_SPOOL_QUOTA_BYTES of {self.quota} bytes reached")
        self._refresh()
        if self._share >= self._high_water:
            raise SpoolFull(f"spool disk is {self._share:.0%} full (OSTEON_SPOOL_HIGH_WATER)")

    def set_gauges(self) -> None:
        """Set the gauges of how full the spool is."""
        try:
            self._refresh()
        except OSError:  # `check` raises it too: everything is refused
            metrics.SPOOL_FILL_RATIO.set(1)
            metrics.SPOOL_FREE_BYTES.set(0)
            return
        fills, frees = [self._share / self._high_water], [int(self._total * self._high_water - self._filled)]
        if self.quota:
            held = self._used + self._unmeasured
            fills.append(held / self.quota)
            frees.append(self.quota - held)
        metrics.SPOOL_FILL_RATIO.set(max(fills))
        metrics.SPOOL_FREE_BYTES.set(max(0, min(frees)))

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._refreshed >= _FRESH:
            free, self._filled = self._disk.free(self._root)
            self._total = self._filled + free
            self._share = self._filled / self._total if self._total else 1.0
            self._refreshed = now


def usage(root: Path) -> int:
    """Return the bytes of all files in the folders of a spool, those of other processes too. Blocks."""
    total = 0
    for path in files(root):
        with suppress(FileNotFoundError):  # stored meanwhile
            total += path.stat().st_size
    return total
