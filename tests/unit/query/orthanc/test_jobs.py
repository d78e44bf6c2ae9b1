"""REST of jobs: Orthanc's fields and answers."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from osteon.errors import Unavailable
from osteon.jobs.port import JobOutcome, JobState
from osteon.jobs.run import JobRun, JobType
from osteon.jobs.runner import JobRunner
from osteon.remotes.job_params import ModalityStoreParams
from osteon.remotes.port import Modality
from support.dicom.datasets import ct_slice
from support.jobs.job_types import FAST, until
from support.query.application import RunningQuery

TIME = re.compile(r"\d{8}T\d{6}\.\d{6}")


async def test_a_job_has_orthancs_fields_and_hides_its_params(archive: RunningQuery) -> None:
    job = await archive.index.jobs.submit("DicomMoveScu", {"password": "x"}, content={"RemoteAet": "A"}, priority=4)
    shown = await archive.json(f"/jobs/{job.id}")
    assert TIME.fullmatch(shown.pop("CreationTime")) and TIME.fullmatch(shown.pop("Timestamp"))
    assert shown == {
        "ID": job.id, "Type": "DicomMoveScu", "State": "Pending", "Progress": 0, "Priority": 4, "EffectiveRuntime": 0,
        "ErrorCode": 0, "ErrorDescription": "Success", "ErrorDetails": "", "Content": {"RemoteAet": "A"},
    }  # fmt: skip


async def test_a_running_job_says_when_it_will_end_and_a_failed_one_why_it_did(archive: RunningQuery) -> None:
    jobs = archive.index.jobs
    job = await jobs.submit("a", {})
    await jobs.claim("w", ["a"], 60)
    assert "EstimatedTimeOfArrival" not in await archive.json(f"/jobs/{job.id}")
    await jobs.save(job.id, "w", lease=60, progress=50)
    shown = await archive.json(f"/jobs/{job.id}")
    assert shown["EstimatedTimeOfArrival"] > shown["CreationTime"]
    await jobs.finish(job.id, "w", JobOutcome(state=JobState.FAILURE, error_code=9, error="SINK does not answer"))
    shown = await archive.json(f"/jobs/{job.id}")
    assert (shown["State"], shown["ErrorCode"], shown["ErrorDescription"], shown["ErrorDetails"]) == (
        "Failure", 9, "Error in the network protocol", "SINK does not answer",
    )  # fmt: skip
    assert TIME.fullmatch(shown["CompletionTime"])


async def test_jobs_are_listed_by_identifier_or_whole(archive: RunningQuery) -> None:
    assert await archive.json("/jobs") == []
    made = [(await archive.index.jobs.submit("a", {})).id for _ in range(2)]
    assert await archive.json("/jobs") == made[::-1]
    assert [job["ID"] for job in await archive.json("/jobs?expand")] == made[::-1]


async def test_a_job_is_paused_resumed_cancelled_resubmitted_and_deleted(archive: RunningQuery) -> None:
    job = await archive.index.jobs.submit("a", {})
    for command, state in (
        ("pause", "Paused"), ("resume", "Pending"), ("cancel", "Failure"), ("cancel", "Failure"),
        ("resubmit", "Pending"), ("cancel", "Failure"),
    ):  # fmt: skip
        response = await archive.http.post(f"/jobs/{job.id}/{command}", content="{}")
        assert (response.status_code, response.json()) == (200, {})
        assert (await archive.json(f"/jobs/{job.id}"))["State"] == state
    shown = await archive.json(f"/jobs/{job.id}")
    assert (shown["ErrorCode"], shown["ErrorDescription"]) == (37, "This job was canceled")
    assert (await archive.http.delete(f"/jobs/{job.id}")).status_code == 200
    assert await archive.json("/jobs") == []


async def test_what_a_job_can_not_do_is_refused_with_the_reason(archive: RunningQuery) -> None:
    job = await archive.index.jobs.submit("a", {})
    for method, path, status, words in (
        ("POST", f"/jobs/{job.id}/resume", 400, "only a paused job"),
        ("DELETE", f"/jobs/{job.id}", 400, "cancel it first"),
        ("POST", f"/jobs/{job.id}/dance", 404, "cancel, pause, resume, resubmit"),
        ("GET", f"/jobs/{job.id}/archive", 404, "it has no archive"),
        ("GET", "/jobs/unknown", 404, "'unknown'"),
        ("GET", "/jobs/unknown/archive", 404, "'unknown'"),
        ("POST", "/jobs/unknown/pause", 404, "'unknown'"),
    ):
        response = await archive.http.request(method, path)
        assert response.status_code == status
        assert words in response.json()["Details"]


@pytest.fixture
async def running(archive: RunningQuery) -> AsyncIterator[list[dict[str, object]]]:
    """A runner of `DicomModalityStore` that fails when the timeout is 1; the list has what it was told."""
    told: list[dict[str, object]] = []

    async def store(run: JobRun) -> None:
        told.append(dict(run.job.params))
        await run.save(content={**run.job.content, "InstancesCount": 7})
        if run.job.params["timeout"] == 1:
            raise Unavailable("SINK does not answer")
        await asyncio.sleep(0.01)

    await archive.index.remotes.put_modality(Modality(name="sink", aet="SINK", host="127.0.0.1", port=104))
    async with JobRunner(archive.index.jobs, {ModalityStoreParams.TYPE: JobType(store, 3600)}, FAST):
        yield told


async def test_who_waits_for_a_job_gets_what_it_shows_in_the_end_or_its_error_at_once(archive, running) -> None:
    await archive.stow(ct_slice())
    (study,) = await archive.json("/studies")
    body = {"Resources": [study]}
    answer = await archive.http.post("/modalities/sink/store", json=body)
    assert (answer.status_code, answer.json()["InstancesCount"]) == (200, 7)
    failed = await archive.http.post("/modalities/sink/store", json={**body, "Timeout": 1})
    assert (failed.status_code, len(running)) == (500, 2)
    assert "SINK does not answer" in failed.json()["Details"]


async def test_who_does_not_wait_finds_the_job_and_it_is_tried_again(archive, running) -> None:
    await archive.stow(ct_slice())
    (study,) = await archive.json("/studies")
    body = {"Resources": [study], "Timeout": 1, "Asynchronous": True, "Priority": 3}
    answer = (await archive.http.post("/modalities/sink/store", json=body)).json()
    job = await archive.index.jobs.get(answer["ID"])
    await until(archive.index.jobs, job, (JobState.RETRY,))
    shown = await archive.json(answer["Path"])
    assert (shown["State"], shown["Priority"], shown["ErrorDetails"]) == ("Retry", 3, "SINK does not answer")
