"""Reading instances back: SHA-256 of each data set, in chunks, at a bounded rate."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

from osteon.errors import Invalid, NotFound
from osteon.index.port import Index, Location, PackRows
from osteon.objects.port import Objects
from osteon.spool import sidecar
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
    row: PackRows, *, objects: Objects, index: Index, pace: Pace, tally: Tally
) -> AsyncIterator[Problem]:
    """Read a pack's sidecar and every instance that is in use; yields what is wrong with them."""
    try:
        lines = await asyncio.to_thread(_lines, await objects.get(row.sidecar_key))
    except NotFound:
        return  # told by who looked for it
    except Invalid as error:
        yield Problem(Kind.SIDECAR_DAMAGED, row.sidecar_key, str(error))
        return
    async for member in index.members(row.pack_id):
        dataset, sha256 = lines.get(member.offset, (0, b""))
        what = f"instance {member.identity.sop_uid}"
        if sha256 != member.sha256:
            detail = f"{what} at byte {member.offset} has another line than its row says"
            yield Problem(Kind.SIDECAR_DAMAGED, row.sidecar_key, detail)
            continue
        if wrong := await _wrong(member, dataset, objects, pace, tally):
            yield Problem(Kind.INSTANCE_DAMAGED, row.key, f"{what} at byte {member.offset}: {wrong}")


def _lines(data: bytes) -> dict[int, tuple[int, bytes]]:
    """Return by offset where each data set begins, and its SHA-256; raises `BadSidecar`."""
    facts, lines = sidecar.decode(data)
    try:
        found = {line.offset: (line.dataset_offset, line.sha256) for line in lines}
    except sidecar.BadSidecar:
        raise
    except Exception as error:  # whatever a flipped byte leads to, the sidecar is of no use
        raise sidecar.BadSidecar(f"{type(error).__name__}: {error}") from None
    if len(found) != facts.instances:
        raise sidecar.BadSidecar(f"it has {len(found)} of {facts.instances} instances")
    return found


async def _wrong(member: Location, dataset: int, objects: Objects, pace: Pace, tally: Tally) -> str:
    """Return what is wrong with an instance's bytes, empty when nothing is."""
    digest = hashlib.sha256()
    try:
        async for chunk in objects.stream(member.key, member.offset + dataset, member.length - dataset):
            await pace.spend(len(chunk))
            await asyncio.to_thread(digest.update, chunk)
            tally.bytes_read += len(chunk)
    except (NotFound, Invalid) as error:
        return str(error)
    return "" if digest.digest() == member.sha256 else "its SHA-256 is not the one in the index"
