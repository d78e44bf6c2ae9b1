"""Reading instances back: SHA-256 of each data set, in chunks, at a bounded rate."""

import asyncio
import time
from collections.abc import AsyncIterator

from osteon.archive.pack_records import PackRows
from osteon.archive.ports import PackRegister
from osteon.errors import Invalid, NotFound
from osteon.objects.port import Objects
from osteon.packs.integrity import instance_defect, read_digests
from osteon_indexer.verify.problems import ProblemKind, VerifyProblem, VerifyProgress


class RateLimiter:
    """Limits readers to `rate` bytes a second; 0: no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._due = time.monotonic()

    async def acquire(self, n: int) -> None:
        """Wait until `n` bytes may be read."""
        if self._rate:
            now = time.monotonic()
            self._due = max(self._due, now) + n / self._rate
            await asyncio.sleep(self._due - now)


async def read_back(
    row: PackRows, *, objects: Objects, index: PackRegister, limiter: RateLimiter, progress: VerifyProgress
) -> AsyncIterator[VerifyProblem]:
    """Read a pack's sidecar and every instance that is in use; yields what is wrong with them."""

    async def count(n: int) -> None:
        await limiter.acquire(n)
        progress.bytes_read += n

    try:
        lines = await read_digests(row.sidecar, objects)
    except NotFound:
        return  # `pack_defect` reports it
    except Invalid as error:
        yield VerifyProblem(ProblemKind.SIDECAR_DAMAGED, row.sidecar.key, str(error))
        return
    async for member in index.pack_members(row.pack_id):
        if defect := await instance_defect(member, lines, objects, count):
            yield VerifyProblem.from_defect(defect)
