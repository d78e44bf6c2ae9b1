"""Reading instances back: SHA-256 of each data set, in chunks, at a bounded rate."""

import asyncio
import time
from collections.abc import AsyncIterator

from osteon.archive.pack_records import PackRows
from osteon.archive.ports import PackRegister
from osteon.errors import Invalid, NotFound
from osteon.objects.port import Objects
from osteon.packs.integrity import instance_defect, read_digests
from osteon_indexer.verify.problems import Kind, Problem, Tally


class Pace:
    """Holds readers back to so many bytes a second; 0: not at all."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._due = time.monotonic()

    async def spend(self, n: int) -> None:
        """Wait until `n` bytes may be read."""
        if self._rate:
            now = time.monotonic()
            self._due = max(self._due, now) + n / self._rate
            await asyncio.sleep(self._due - now)


async def read_back(
    row: PackRows, *, objects: Objects, index: PackRegister, pace: Pace, tally: Tally
) -> AsyncIterator[Problem]:
    """Read a pack's sidecar and every instance that is in use; yields what is wrong with them."""

    async def count(n: int) -> None:
        await pace.spend(n)
        tally.bytes_read += n

    try:
        lines = await read_digests(row.sidecar_key, objects)
    except NotFound:
        return  # told by who looked for it
    except Invalid as error:
        yield Problem(Kind.SIDECAR_DAMAGED, row.sidecar_key, str(error))
        return
    async for member in index.members(row.pack_id):
        if flaw := await instance_defect(member, lines, objects, count):
            yield Problem.of(flaw)
