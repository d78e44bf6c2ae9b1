"""`osteon_query.archives`: jobs that are interrupted, archives that are kept, and how many are made at a time."""

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from osteon.errors import Invalid, Unavailable
from osteon_query.archives import jobs
from osteon_query.archives.jobs import ArchiveJobs, ArchiveParams, key_of
from support.dicom.datasets import ct_slice
from support.jobs.in_memory import FakeJobs, FakeRun
from support.query.application import RunningQuery


async def stored(archive: RunningQuery, n: int = 2) -> str:
    """Store a study; return its identifier."""
    first = ct_slice()
    more = [ct_slice(study=str(first.StudyInstanceUID), number=i) for i in range(1, n)]
    await archive.stow(first, *more)
    return str((await archive.json("/studies"))[-1])


def archive_jobs(archive: RunningQuery, folder: Path, **limits: int) -> ArchiveJobs:
    state = archive.app.state.app_state
    return ArchiveJobs(
        writer=state.archives, objects=archive.objects, folder=folder, **({"keep": 9, "keep_bytes": 1 << 30} | limits)
    )


async def run(archive: RunningQuery, made: ArchiveJobs, study: str) -> str:
    """Run a job once; return its id."""
    fake = FakeJobs()
    job = await fake.submit(ArchiveParams.TYPE, ArchiveParams(resources=(study,)).params(), content={})
    await made.types()[job.type].work(FakeRun(fake, job))
    return job.id


async def test_a_job_that_is_taken_over_makes_the_archive_anew(
    archive: RunningQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = await stored(archive)
    made = archive_jobs(archive, tmp_path)
    plain = archive.objects.put_file

    async def interrupted(*arguments: Any) -> None:
        await plain(*arguments)
        raise Unavailable("the store has not answered")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(archive.objects, "put_file", interrupted)
        await run(archive, made, study)
    job = await run(archive, made, study)
    assert len(zipfile.ZipFile(io.BytesIO(await archive.objects.get(key_of(job)))).namelist()) == 2
    assert not list(tmp_path.glob("archive-*"))


@pytest.mark.parametrize(("limits", "left"), [({"keep": 2}, 2), ({"keep_bytes": 1}, 1), ({}, 4)])
async def test_the_oldest_archives_go_first_and_the_newest_stays(
    archive: RunningQuery, tmp_path: Path, limits: dict[str, int], left: int
) -> None:
    study = await stored(archive)
    made = archive_jobs(archive, tmp_path, **limits)
    ids = []
    for _ in range(4):
        ids.append(await run(archive, made, study))
        await asyncio.sleep(0.01)
    kept = {info.key async for info in archive.objects.list(jobs.PREFIX)}
    assert kept == {key_of(each) for each in ids[-left:]}


async def test_only_so_many_are_made_for_clients_that_wait(archive: RunningQuery) -> None:
    study = await stored(archive)
    archive.change(archive_slots=asyncio.Semaphore(0))
    answer = await archive.http.get(f"/studies/{study}/archive")
    assert (answer.status_code, "OSTEON_MAX_CONCURRENT_ARCHIVES" in answer.json()["Details"]) == (503, True)
    assert answer.headers["Retry-After"]


async def damage(archive: RunningQuery) -> str:
    """Change the only pack; return its key."""
    (key,) = [info.key async for info in archive.objects.list() if info.key.endswith(".tar")]
    whole = await archive.objects.get(key)
    await archive.objects.put(key, whole[:700] + bytes(8) + whole[708:])
    return str(key)


async def test_damage_lets_a_job_fail_at_once_and_is_named(archive: RunningQuery, tmp_path: Path) -> None:
    study = await stored(archive, 1)
    key = await damage(archive)
    with pytest.raises(Invalid) as failed:
        await run(archive, archive_jobs(archive, tmp_path), study)
    assert key in str(failed.value)
    assert "checksum" in str(failed.value)
    assert not [info async for info in archive.objects.list(jobs.PREFIX)]
    assert not list(tmp_path.glob("archive-*"))


async def test_what_cannot_be_read_ends_the_archive_early(archive: RunningQuery) -> None:
    study = await stored(archive, 1)
    await damage(archive)
    try:
        answer = await archive.http.get(f"/studies/{study}/archive")
    except httpx.HTTPError:
        return
    assert answer.status_code == 500
