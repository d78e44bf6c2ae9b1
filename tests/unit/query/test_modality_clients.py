"""Clients of Orthanc's REST and Orthanc itself: what they do with modalities and peers works unchanged."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRoot
from pynetdicom.sop_class import Verification
from pyorthanc import Modality, Orthanc

from osteon.runtime import http_server
from osteon_dispatcher import remote
from osteon_local.part import free_port
from support.make import ct_slice
from support.packs import part10
from support.query import Running

UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
async def url(archive: Running) -> AsyncIterator[str]:
    """The archive on a port, with what a dispatcher does for it."""
    await remote.serve(archive.bus, archive.index.remotes, archive.index.queries)
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
    for context in (Verification, StudyRoot):
        ae.add_supported_context(context)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, found)])
    yield ["PEER", "127.0.0.1", server.socket.getsockname()[1]]
    server.shutdown()


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
