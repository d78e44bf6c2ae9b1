"""The HTTP door in a process of its own, behind the real HTTP server.

Prints its port. For each line of its input it prints the longest step of the event loop since the last one, in seconds
of processor time, which other processes do not change. It ends when its input does.
"""

import asyncio
import sys
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from osteon import heap, logging
from osteon.runtime import http_server
from support.query.application import QuerySettings, RunningQuery, door

_longest = [0.0]


def _measure_steps() -> None:
    run = asyncio.Handle._run

    def measured(self: Any) -> None:
        started = time.thread_time()
        run(self)
        _longest[0] = max(_longest[0], time.thread_time() - started)

    asyncio.Handle._run = measured  # type: ignore[method-assign]


async def main(folder: Path) -> None:
    """Serve until the input ends."""
    _measure_steps()
    async with door(folder, QuerySettings(drain_seconds=1)) as archive, _served(archive) as port:
        print(port, flush=True)
        _longest[0] = 0.0
        while await asyncio.to_thread(sys.stdin.readline):
            print(_longest[0], flush=True)
            _longest[0] = 0.0


def _served(archive: RunningQuery) -> AbstractAsyncContextManager[int]:
    return http_server(archive.app, "127.0.0.1", 0)


if __name__ == "__main__":
    logging.setup("query", level="ERROR", style="json")
    heap.return_freed_memory()  # as `osteon.runtime` does
    asyncio.run(main(Path(sys.argv[1])))
