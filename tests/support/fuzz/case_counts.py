"""How much tests try: `OSTEON_TEST_FUZZ=20` makes random ones try twenty times as much, with other dice each time."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
EFFORT = int(os.environ.get("OSTEON_TEST_FUZZ", "1"))
THIN = 3 if EFFORT == 1 else 1
"""Of steps that are gone through one by one, every third is tried without more effort."""


def thinned(cases: Sequence[T]) -> Sequence[T]:
    """Return some of many cases; all of them with more effort."""
    return cases[::THIN] if len(cases) > 6 else cases
