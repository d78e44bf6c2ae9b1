"""Clients of Orthanc's REST and Orthanc itself: what they do with modalities and peers works unchanged."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from orthanc_api_client import OrthancApiClient
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind as Worklist
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRoot
from pynetdicom.sop_class import Verification
from pyorthanc import Modality, Orthanc

from osteon.jobs.port import JobState
from osteon.runtime import http_server
from osteon_dispatcher import remote_requests
from osteon_local.part import free_port
from support.dicom.datasets import ct_slice
from support.dimse.pynetdicom_acceptor import accepting
from support.jobs.in_memory import FakeJobs
from support.packs.sealed_packs import part10
from support.query.application import RunningQuery

UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
async def url(archive: RunningQuery) -> AsyncIterator[str]:
    """The archive on a port, with what a dispatcher does for it."""
    await remote_requests.serve(archive.bus, archive.index.remotes, archive.index.queries, objects=archive.objects)
    async with http_server(archive.app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


def found(_: evt.Event) -> Iterator[tuple[int, Dataset]]:
    match = Dataset()
    match.PatientName, match.StudyInstanceUID = "Doe^Jane", UID
    yield 0xFF00, match


@pytest.fixture
def peer() -> Iterator[list[object]]:
    """A modality that answers C-ECHO and C-FIND, as the short array that describes it."""
    ae = AE("PEER")
    for context in (Verification, StudyRoot, Worklist):
        ae.add_supported_context(context)
    with accepting(ae, (evt.EVT_C_FIND, found)) as port:
        yield ["PEER", "127.0.0.1", port]


async def test_pyorthanc_configures_echoes_and_finds(url: str, peer: list[object]) -> None:
    def use() -> None:
        client = Orthanc(url)
        client.put_modalities_id("peer", json=peer)
        client.put_modalities_id("away", json=["AWAY", "127.0.0.1", 1])
        assert client.get_modalities() == ["away", "peer"]
        assert client.get_modalities_id_configuration("peer")["AET"] == "PEER"
        assert (Modality(client, "peer").echo(), Modality(client, "away").echo()) == (True, False)
        answer = Modality(client, "peer").find({"Level": "Study", "Query": {"PatientName": "D*"}})
        assert [match["StudyInstanceUID"] for match in answer["answers"]] == [UID]
        assert client.get_queries() == [answer["ID"]]
        assert client.get_queries_id_level(answer["ID"]) == "Study"
        client.delete_queries_id(answer["ID"])
        client.delete_modalities_id("away")
        assert client.get_modalities(params={"expand": True}).keys() == {"peer"}

    await asyncio.to_thread(use)


@pytest.fixture
async def worker(archive: RunningQuery) -> AsyncIterator[FakeJobs]:
    """Jobs that all succeed at once."""
    jobs = FakeJobs()
    archive.change(jobs=jobs)

    async def work() -> None:
        while True:
            for job in [job for job in jobs.all.values() if job.state is JobState.PENDING]:
                jobs.put(replace(job, state=JobState.SUCCESS))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(work())
    yield jobs
    task.cancel()


@pytest.mark.slow
async def test_orthanc_api_client_configures_finds_sends_and_retrieves(
    archive: RunningQuery, url: str, peer: list[object], worker: FakeJobs
) -> None:
    await archive.stow(ct_slice())

    def use() -> None:
        client = OrthancApiClient(url)
        modalities = client.modalities
        modalities.configure("peer", dict(zip(("AET", "Host", "Port"), peer, strict=True)))
        assert modalities.get_all_ids() == [modalities.get_id_from_aet("PEER")] == ["peer"]
        assert modalities.get_configuration("peer")["Port"] == peer[2]
        assert [study.dicom_id for study in modalities.query_studies("peer", {"PatientName": "*"})] == [UID]
        assert modalities.query_series("peer", {"StudyInstanceUID": UID})[0].tags.get("PatientName") == "Doe^Jane"
        assert modalities.find_worklist("peer", {"PatientID": ""})[0]["StudyInstanceUID"] == UID
        (study,) = client.studies.get_all_ids()
        modalities.send("peer", study, timeout=5)
        assert modalities.send_async("peer", [study], local_aet="ME").orthanc_id == "job-2"
        modalities.move_study("peer", UID, to_modality_aet="THERE")
        assert modalities.move_study_async("peer", UID).orthanc_id == "job-4"
        modalities.get_series("peer", f"{UID}.1", UID)
        httpx.put(f"{url}/peers/other", json=["http://127.0.0.1:1/"]).raise_for_status()
        client.peers.send("other", study)
        modalities.delete("peer")
        assert modalities.get_all_ids() == []

    await asyncio.to_thread(use)
    types = [job.type for job in worker.all.values()]
    assert types == ["DicomModalityStore"] * 2 + ["DicomMoveScu"] * 2 + ["DicomGetScu", "OrthancPeerStore"]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[tuple[str, list[object]]]:
    """Orthanc with a password: its URL, and the short array that describes it as a modality."""
    if shutil.which("Orthanc") is None:
        pytest.skip("Orthanc is not installed")
    dicom, http = free_port(), free_port()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    settings = {
        "DicomPort": dicom, "HttpPort": http, "StorageDirectory": str(folder), "IndexDirectory": str(folder),
        "RegisteredUsers": {"user": "secret"}, "AuthenticationEnabled": True, "Plugins": [],
        "DicomModalities": {"osteon": {"AET": "OSTEON", "Host": "127.0.0.1", "Port": 4242}},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        command = ["Orthanc", str(folder / "orthanc.json")]
        process = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{http}"
    try:
        until(lambda: httpx.get(f"{url}/system", auth=("user", "secret")).status_code == 200)
        yield url, ["ORTHANC", "127.0.0.1", dicom]
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
async def test_orthanc_is_echoed_searched_and_asked_as_a_peer(url: str, orthanc: tuple[str, list[object]]) -> None:
    theirs, described = orthanc
    dataset = ct_slice(PatientName="Ärger^Änne", SpecificCharacterSet="ISO_IR 100", PatientID="O-1")

    def use() -> None:
        httpx.post(f"{theirs}/instances", content=part10(dataset), auth=("user", "secret")).raise_for_status()
        client = Orthanc(url)
        client.put_modalities_id("orthanc", json=described)
        assert Modality(client, "orthanc").echo() is True
        assert client.post_modalities_id_echo("orthanc", json={"CheckFind": True}) == {}
        for query in ({"PatientName": "Ä*"}, {"StudyInstanceUID": str(dataset.StudyInstanceUID)}):
            answers: list[dict[str, Any]] = Modality(client, "orthanc").find({"Level": "Study", "Query": query})[
                "answers"
            ]
            assert [answer["StudyInstanceUID"] for answer in answers] == [dataset.StudyInstanceUID]
        assert Modality(client, "orthanc").find({"Level": "Study", "Query": {"PatientID": "none"}})["answers"] == []
        made = client.post_modalities_id_query("orthanc", json={"Level": "Study", "Query": {"PatientName": ""}})
        below = client.post_queries_id_answers_index_query_series(made["ID"], "0", json={"Query": {}})
        (series,) = client.get_queries_id_answers(below["ID"], params={"expand": True, "simplify": True})
        assert series["SeriesInstanceUID"] == dataset.SeriesInstanceUID
        client.put_peers_id("other", json=[theirs, "user", "secret"])
        assert client.get_peers_id_system("other")["DicomPort"] == described[2]
        client.put_peers_id("other", json=[theirs, "user", "wrong"])
        with pytest.raises(httpx.HTTPError):
            client.get_peers_id_system("other")

    await asyncio.to_thread(use)
