"""`/tools/find` for the newest 50 studies, through the application without a socket, on a private PostgreSQL.

    python tests/load/bench_find.py --studies 1000000

`ids`: identifiers only; `content`: the parts that Orthanc Explorer 2 shows in its list; `expand`: whole objects.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "deploy" / "local")]

from osteon.index.sql import SqlIndex  # noqa: E402
from osteon_local.postgres import Postgres  # noqa: E402
from support.index.invented_archive import fill  # noqa: E402
from support.load.process_usage import cpu_seconds  # noqa: E402
from support.query.application import door  # noqa: E402

ASKED = 40
NEWEST = {
    "Level": "Study", "Query": {}, "Limit": 50,
    "OrderBy": [{"Type": "Metadata", "Key": "LastUpdate", "Direction": "DESC"}],
}  # fmt: skip
CONTENT = ["MainDicomTags", "Metadata", "Labels", "Parent", "IsStable"]
COUNTED = ["ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
BODIES: dict[str, dict[str, Any]] = {
    "ids": NEWEST,
    "content": {**NEWEST, "ResponseContent": CONTENT, "RequestedTags": COUNTED},
    "expand": {**NEWEST, "Expand": True},
}


async def measure(url: str, studies: int, server: int, folder: Path) -> None:
    """Fill a database, and ask it."""
    index = SqlIndex(url)
    await index.start()
    began = time.perf_counter()
    await asyncio.to_thread(fill, url, 0, studies, 1)
    print(f"{studies:,} studies filled in in {time.perf_counter() - began:.0f} s", flush=True)
    async with door(folder) as archive:
        archive.change(index=index, user_data=index.user_data)
        for name, body in BODIES.items():
            taken, used = [], 0.0
            for number in range(ASKED + 3):
                used = cpu_seconds(server) + time.process_time() if number == 3 else used
                started = time.perf_counter()
                found = (await archive.http.post("/tools/find", json=body)).raise_for_status().json()
                taken.append((time.perf_counter() - started) * 1e3)
                assert len(found) == 50
            cpu = (cpu_seconds(server) + time.process_time() - used) / ASKED * 1e3
            taken = sorted(taken[3:])
            print(f"  {name}: p50 {taken[ASKED // 2]:.1f}, p95 {taken[ASKED * 95 // 100]:.1f}, CPU {cpu:.1f} ms")
    await index.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000)
    options = parser.parse_args()
    with TemporaryDirectory() as name, Postgres(Path(name) / "postgres") as server:
        folder = Path(name) / "archive"
        folder.mkdir()
        asyncio.run(measure(server.url, options.studies, server.process.pid, folder))


if __name__ == "__main__":
    main()
