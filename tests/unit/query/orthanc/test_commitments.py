"""REST of storage commitment: Orthanc's bodies and answers."""

import asyncio
from dataclasses import replace

import pytest

from osteon.commitment.port import CommitmentFailure, CommitmentItem
from osteon.jobs.port import JobState
from osteon.remotes.port import Modality
from osteon_query.limits import ApiLimits
from support.dicom.datasets import ct_slice
from support.index.stored_packs import CT, MR
from support.jobs.in_memory import FakeJobs
from support.query.application import RunningQuery

BODY = {"DicomInstances": [{"SOPClassUID": CT, "SOPInstanceUID": "1.2.1"}, [MR, "1.2.2"]]}


@pytest.fixture
def jobs(archive: RunningQuery) -> FakeJobs:
    """Jobs that nobody runs."""
    made = FakeJobs()
    archive.change(jobs=made)
    return made


@pytest.fixture
def at_once(archive: RunningQuery) -> None:
    archive.change(limits=ApiLimits(commitment_wait_seconds=0))


@pytest.fixture
async def modality(archive: RunningQuery) -> Modality:
    made = Modality(name="pacs", aet="PACS", host="127.0.0.1", port=104, local_aet="HERE")
    await archive.index.remotes.put_modality(made)
    return made


async def test_instances_are_asked_for_by_a_job_and_their_report_is_pending(archive, jobs, modality, at_once):
    response = await archive.http.post("/modalities/pacs/storage-commitment", json=BODY)
    answer = response.json()
    assert (response.status_code, answer["Path"]) == (200, f"/storage-commitment/{answer['ID']}")
    asked = await archive.index.commitments.by_transaction(answer["ID"])
    assert asked.items == (CommitmentItem(CT, "1.2.1"), CommitmentItem(MR, "1.2.2"))
    assert (asked.remote_aet, asked.local_aet, asked.remote) == ("PACS", "HERE", "pacs")
    (job,) = jobs.all.values()
    assert (job.type, job.params["commitment"]) == ("StorageCommitmentScu", asked.id)
    assert await archive.json(answer["Path"]) == {
        "RemoteAET": "PACS", "Status": "Pending", "Success": [], "Failures": []
    }  # fmt: skip


async def test_the_report_names_what_is_committed_and_what_is_not_and_why(archive, jobs, modality, at_once):
    answer = (await archive.http.post("/modalities/pacs/storage-commitment", json=BODY)).json()
    asked = await archive.index.commitments.by_transaction(answer["ID"])
    await archive.index.commitments.record_result(asked.id, [CommitmentFailure(CommitmentItem(MR, "1.2.2"), 0x0112)])
    assert await archive.json(answer["Path"]) == {
        "RemoteAET": "PACS",
        "Status": "Failure",
        "Success": [{"SOPClassUID": CT, "SOPInstanceUID": "1.2.1"}],
        "Failures": [
            {
                "SOPClassUID": MR,
                "SOPInstanceUID": "1.2.2",
                "FailureReason": 274,
                "Description": "No such object instance",
            }
        ],
    }
    await archive.index.commitments.record_result(asked.id, [])
    assert (await archive.json(answer["Path"]))["Status"] == "Success"


async def test_resources_stand_for_their_instances(archive, jobs, modality, at_once):
    first = ct_slice()
    second = ct_slice(study=first.StudyInstanceUID, number=2)
    await archive.stow(first, second)
    (study,) = await archive.json("/studies")
    answer = (await archive.http.post("/modalities/pacs/storage-commitment", json={"Resources": [study]})).json()
    asked = await archive.index.commitments.by_transaction(answer["ID"])
    assert {item.sop_instance_uid for item in asked.items} == {first.SOPInstanceUID, second.SOPInstanceUID}


async def test_the_answer_waits_for_the_modality_and_says_why_it_refused(archive, jobs, modality):
    asking = asyncio.create_task(archive.http.post("/modalities/pacs/storage-commitment", json=BODY))
    while not jobs.all:
        await asyncio.sleep(0.01)
    (job,) = jobs.all.values()
    assert not asking.done()
    jobs.put(replace(job, state=JobState.FAILURE, error="PACS answers 0x0124"))
    response = await asking
    assert (response.status_code, "PACS answers 0x0124" in response.text) == (500, True)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "DicomInstances, Resources"),
        ({"DicomInstances": "1.2"}, "DicomInstances"),
        ({"DicomInstances": [{"SOPClassUID": CT}]}, "DicomInstances"),
        ({"DicomInstances": [[CT, "not a uid"]]}, "DicomInstances"),
        ({"Resources": "x"}, "Resources"),
        ({**BODY, "Timeout": "soon"}, "Timeout"),
    ],
    ids=["empty", "text", "no instance", "no uid", "no array", "timeout"],
)
async def test_what_is_wrong_in_a_body_is_named(archive, jobs, modality, body, named):
    response = await archive.http.post("/modalities/pacs/storage-commitment", json=body)
    assert (response.status_code, named in response.text) == (400, True)
    assert not jobs.all


async def test_what_is_not_known_is_not_found(archive, jobs):
    assert (await archive.http.post("/modalities/pacs/storage-commitment", json=BODY)).status_code == 404
    assert (await archive.http.get("/storage-commitment/1.2.3")).status_code == 404
    assert (await archive.http.post("/storage-commitment/1.2.3/remove")).status_code == 404


async def test_removing_says_that_it_is_not_possible(archive, jobs, modality, at_once):
    answer = (await archive.http.post("/modalities/pacs/storage-commitment", json=BODY)).json()
    response = await archive.http.post(f"{answer['Path']}/remove", json={})
    assert (response.status_code, "cannot be deleted" in response.text) == (501, True)
