"""Services that are killed in the middle of a job: others, or the same ones later, go on, and nothing is missing."""

import asyncio
import io
import zipfile
from collections import Counter

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon_local.cluster import Cluster
from support.dicom.datasets import ct_slice
from support.dimse.raw_peer import DataSetSink, RecordingHandler, running
from support.packs.sealed_packs import part10

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("broker"), pytest.mark.timeout(240)]
INSTANCES = 400


def upload(url: str) -> tuple[str, set[str]]:
    """Store a study of `INSTANCES` small instances."""
    study, series = generate_uid(), generate_uid()
    dataset = ct_slice(study=study, series=series, Rows=2, Columns=2, PixelData=bytes(8))
    uids = [generate_uid() for _ in range(INSTANCES)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for uid in uids:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
            archive.writestr(f"{uid}.dcm", part10(dataset))
    answer = httpx.post(f"{url}/instances", content=buffer.getvalue(), timeout=120).raise_for_status().json()
    return str(answer[0]["ParentStudy"]), {str(uid) for uid in uids}


async def test_a_job_goes_on_when_its_dispatcher_is_killed(faulty: Cluster) -> None:
    url = faulty.url
    study, uids = await asyncio.to_thread(upload, url)
    came: Counter[str] = Counter()
    half = asyncio.Event()

    async def take(sink: DataSetSink) -> Outcome:
        await asyncio.sleep(0.004)
        came[sink.request.sop_instance_uid] += 1
        if len(came) == INSTANCES // 2:
            half.set()
        return Outcome(Status.SUCCESS)

    async with running(RecordingHandler(keep=False, on_finish=take)) as peer, httpx.AsyncClient(base_url=url) as http:
        (await http.put("/modalities/sink", json=["SINK", "127.0.0.1", peer.port])).raise_for_status()
        asked = {"Resources": [study], "Asynchronous": True}
        job = (await http.post("/modalities/sink/store", json=asked)).raise_for_status().json()["ID"]
        await asyncio.wait_for(half.wait(), 60)
        killed = await asyncio.to_thread(worker_of, faulty, job)
        faulty.kill(killed)
        shown = await ended(http, job)
    faulty.restart(killed)
    assert set(came) == uids, f"{len(uids - set(came))} of {INSTANCES} did not arrive"
    assert shown["State"] == "Success", shown
    assert (shown["Progress"], shown["Content"]["InstancesCount"]) == (100, INSTANCES)
    assert shown["Content"]["FailedInstancesCount"] == 0
    assert sum(came.values()) < 2 * INSTANCES, "it began again instead of going on"
    assert sum(came.values()) > INSTANCES - 1


async def test_a_reconciliation_is_whole_although_its_dispatcher_and_an_indexer_are_killed(faulty: Cluster) -> None:
    study, uids = await asyncio.to_thread(upload, faulty.url)
    async with httpx.AsyncClient(base_url=faulty.url, timeout=60) as http:
        asked = {"Replace": {"PatientID": generate_uid()[-16:], "PatientName": "Found^Ada"}, "Asynchronous": True}
        made = await http.post(f"/studies/{study}/reconcile", json=asked)
        job = made.raise_for_status().json()["Job"]["ID"]
        while (await http.get(f"/jobs/{job}")).json()["State"] == "Pending":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        for name in ("indexer-0", await asyncio.to_thread(worker_of, faulty, job)):
            faulty.kill(name)
            await asyncio.to_thread(faulty.restart, name)
        assert (await ended(http, job))["State"] == "Success"
        find = {"Level": "Study", "Query": {"PatientID": asked["Replace"]["PatientID"]}, "Expand": True}
        (found,) = (await http.post("/tools/find", json=find)).json()
        instances = (await http.get(f"/studies/{found['ID']}/instances")).json()
        assert {each["MainDicomTags"]["SOPInstanceUID"] for each in instances} == uids
        assert (await http.get(f"/studies/{study}", follow_redirects=False)).status_code == 307


async def test_an_archive_is_made_although_query_is_killed_while_it_makes_it(faulty: Cluster) -> None:
    study, uids = await asyncio.to_thread(upload, faulty.url)
    async with httpx.AsyncClient(base_url=faulty.url, timeout=60) as http:
        job = (
            (await http.post(f"/studies/{study}/archive", json={"Asynchronous": True})).raise_for_status().json()["ID"]
        )
        while (await http.get(f"/jobs/{job}")).json()["State"] == "Pending":
            await asyncio.sleep(0.01)
        faulty.kill("query-0")
        faulty.restart("query-0")
    async with httpx.AsyncClient(base_url=faulty.url, timeout=60) as http:
        assert (await ended(http, job))["State"] == "Success"
        archive = zipfile.ZipFile(io.BytesIO((await http.get(f"/jobs/{job}/archive")).raise_for_status().content))
    assert {dcmread(archive.open(name)).SOPInstanceUID for name in archive.namelist()} == uids


async def ended(http: httpx.AsyncClient, job: str) -> dict[str, object]:
    for _ in range(300):
        shown = (await http.get(f"/jobs/{job}")).raise_for_status().json()
        if shown["State"] in ("Success", "Failure"):
            return dict(shown)
        await asyncio.sleep(0.2)
    raise AssertionError(f"the job did not end: {shown}")


def worker_of(cluster: Cluster, job: str) -> str:
    """Return the dispatcher that has the job, as its log says."""
    for name in ("dispatcher-0", "dispatcher-1"):
        if job in (cluster.logs / f"{name}.log").read_text():
            return name
    raise AssertionError("no dispatcher has begun the job")
