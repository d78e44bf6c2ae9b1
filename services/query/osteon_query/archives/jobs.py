"""Archives that are made by jobs, in `query`: each ends as an object that `/jobs/{id}/archive` sends.

A job that is taken over begins again. What is kept is bounded; the oldest archives go first.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

from osteon.errors import Invalid
from osteon.jobs.run import JobRun, JobType
from osteon.logging import get_logger
from osteon.objects.keys import CACHE
from osteon.objects.port import Objects
from osteon.remotes.job_params import JobParams
from osteon_query.archives.writer import ArchiveCount, ArchiveOrder, ArchiveWriter
from osteon_query.http.errors import StoredDataUnreadable
from osteon_query.packs.zip_stream import write_zip

PREFIX: Final = f"{CACHE}archives/"
"""Where archives are, each under the id of its job."""
_PATIENCE: Final = 600.0
_SAVED_EVERY: Final = 64 << 20
"""Bytes between two looks at whether the job is to stop."""
_MB: Final = 1 << 20
log = get_logger(__name__)


class ArchiveParams(JobParams):
    """Parameters of the job; see `ArchiveOrder`."""

    TYPE: ClassVar[str] = "Archive"

    resources: tuple[str, ...]
    extended: bool = False
    transcode: str = ""
    quality: int = 0
    utf8: bool = True
    filename: str = ""


class MediaParams(ArchiveParams):
    """The same with a DICOMDIR."""

    TYPE: ClassVar[str] = "Media"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveJobs:
    """What the jobs work with. So many archives are kept, and so many bytes of them."""

    writer: ArchiveWriter
    objects: Objects
    folder: Path
    keep: int
    keep_bytes: int

    def types(self) -> Mapping[str, JobType]:
        """Return the types of jobs."""
        return {
            params.TYPE: JobType(partial(self._make, params=params), _PATIENCE)
            for params in (ArchiveParams, MediaParams)
        }

    async def _make(self, run: JobRun, *, params: type[ArchiveParams]) -> None:
        """Make the archive. Damage lets the job fail at once: another run would find it again."""
        try:
            await self._write(run, params)
        except StoredDataUnreadable as error:
            raise Invalid(f"the archive would not be complete: {error}") from error

    async def _write(self, run: JobRun, params: type[ArchiveParams]) -> None:
        given = params.model_validate(run.job.params)
        order = order_of(given)
        count, expected = ArchiveCount(), await self.writer.size(order)
        with TemporaryDirectory(prefix="archive-", dir=self.folder) as name:
            path = Path(name) / "archive.zip"
            written = saved = 0
            with await asyncio.to_thread(path.open, "xb") as file:
                items = self.writer.items(order, run.job.id, count)
                async with aclosing(write_zip(items)) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
                        written += len(chunk)
                        if written - saved > _SAVED_EVERY:
                            saved = written
                            progress = min(99, count.size * 100 // max(expected, 1))
                            await run.save(progress=progress, content=_content(run.job.content, count, written))
            await self.objects.put_file(key_of(run.job.id), path)
        await run.save(progress=100, content=_content(run.job.content, count, written))
        await self.delete_oldest()

    async def delete_oldest(self) -> None:
        """Delete the archives that are too many, the oldest first; the newest stays in any case."""
        found = sorted([each async for each in self.objects.list(PREFIX)], key=lambda each: each.modified, reverse=True)
        size = 0
        for number, info in enumerate(found):
            size += info.size
            if number and (number >= self.keep or size > self.keep_bytes):
                await self.objects.delete(info.key)
                log.info("archive deleted", job=PurePosixPath(info.key).stem, size=info.size)


def order_of(params: ArchiveParams) -> ArchiveOrder:
    """Return what the parameters of a job order."""
    return ArchiveOrder(
        resources=params.resources,
        media=isinstance(params, MediaParams),
        extended=params.extended,
        transcode=params.transcode,
        quality=params.quality,
        utf8=params.utf8,
    )


def key_of(job_id: str) -> str:
    """Return the key of the object with the archive of a job."""
    return f"{PREFIX}{job_id}.zip"


def _content(known: Mapping[str, Any], count: ArchiveCount, written: int) -> dict[str, Any]:
    return {
        **known,
        "InstancesCount": count.instances,
        "UncompressedSize": str(count.size),
        "UncompressedSizeMB": count.size // _MB,
        "ArchiveSize": str(written),
        "ArchiveSizeMB": written // _MB,
    }
