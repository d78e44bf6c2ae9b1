"""What the process keeps of freed memory, and when Python looks for cycles of garbage."""

import ctypes
import gc
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
"""Parameters of mallopt(3)."""
_KEPT: Final = 8 << 20
"""Bytes at the end of the heap that stay; larger blocks are mapped, each by itself, and unmapped when they are freed.

glibc moves both limits up to 64 MiB with the sizes that it sees, unless they are set. Below the size of a large frame
each of its copies would come from fresh pages, which costs as much as drawing it.
"""
_ARENAS: Final = 2
"""Heaps for all threads: they seldom allocate at the same time, and what is free in one is of no use to the others."""


def return_freed_memory() -> None:
    """Let freed memory go back to the system, from now on; does nothing with other C libraries than glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_ARENA_MAX, _ARENAS), (_MMAP_THRESHOLD, _KEPT), (_TRIM_THRESHOLD, _KEPT)):
            mallopt(parameter, value)


def import_without_collecting() -> None:
    """Look for no garbage while modules are imported: they leave none, and each look visits all of them."""
    gc.disable()


def collect_after_imports() -> None:
    """Look for cycles again from now on; what was imported stays, and is not visited."""
    gc.freeze()
    gc.enable()
