"""Many small rows in order, with bounded memory: sorted runs in temporary files, merged."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import IO, Any, Final

import orjson

RUN: Final = 100_000
"""Rows that are sorted in memory at a time."""


class ExternalSorter:
    """Takes rows (lists of text and numbers) in any order, and gives them back sorted by their first text, once.

    Texts are compared by code points. It opens files, so call it in threads.
    """

    def __init__(self, *, run: int = RUN) -> None:
        self._run = run
        self._lines: list[bytes] = []
        self._files = ExitStack()
        self._runs: list[IO[bytes]] = []
        self._merged: Iterator[bytes] | None = None

    def __enter__(self) -> "ExternalSorter":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def extend(self, rows: Iterable[list[Any]]) -> None:
        """Take rows; every `run` of them go to a file."""
        self._lines += (orjson.dumps(row) + b"\n" for row in rows)
        if len(self._lines) >= self._run:
            file = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            file.writelines(sorted(self._lines))
            file.seek(0)
            self._runs.append(file)
            self._lines = []

    def take(self, n: int) -> list[list[Any]]:
        """Return the next rows, at most `n`; none at the end. Nothing can be added after the first call."""
        if self._merged is None:
            self._merged = heapq.merge(*self._runs, sorted(self._lines))
        return [orjson.loads(line) for line in islice(self._merged, n)]
