"""The HTTP door in a process of its own, behind the real HTTP server: prints its port, ends when its input does."""

import asyncio
import sys
from pathlib import Path

from osteon import logging
from osteon.runtime import http_server
from support.query.application import QuerySettings, door


async def main(folder: Path) -> None:
    """Serve until the input ends."""
    async with (
        door(folder, QuerySettings(drain_seconds=1)) as archive,
        http_server(archive.app, "127.0.0.1", 0) as port,
    ):
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    logging.setup("query", level="ERROR", style="json")
    asyncio.run(main(Path(sys.argv[1])))
