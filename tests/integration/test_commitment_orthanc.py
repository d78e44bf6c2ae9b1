"""Storage commitment with Orthanc, which asks and is asked."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from osteon.commitment.port import CommitmentItem
from osteon.commitment.requests import request_commitment
from osteon.remotes.port import Modality
from osteon_local.part import free_port
from support.archive.running import eventually
from support.dicom.datasets import ct_slice
from support.dispatcher.commitment import UNKNOWN, CommitmentArchive, commitment_world
from support.packs.sealed_packs import part10

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed"),
]


@dataclass
class CommittingOrthanc:
    """A running Orthanc."""

    modality: Modality
    http: httpx.Client


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CommitmentArchive]:
    async with commitment_world(tmp_path / "osteon") as made:
        yield made


@pytest.fixture
def orthanc(world: CommitmentArchive, tmp_path: Path) -> Iterator[CommittingOrthanc]:
    dicom, web = free_port(), free_port()
    settings = {
        "StorageDirectory": str(tmp_path / "orthanc"), "IndexDirectory": str(tmp_path / "orthanc"),
        "DicomAet": "ORTHANC", "DicomPort": dicom, "HttpPort": web, "RemoteAccessAllowed": False,
        "DicomModalities": {
            "osteon": {"AET": "OSTEON", "Host": "127.0.0.1", "Port": world.port, "AllowStorageCommitment": True}
        },
    }  # fmt: skip
    path = tmp_path / "orthanc.json"
    path.write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        environment = {**os.environ, "TCP_NODELAY": "1"}
        process = subprocess.Popen(["Orthanc", str(path)], env=environment, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{web}", timeout=30) as http:
                eventually(lambda: _answers(http))
                yield CommittingOrthanc(Modality(name="orthanc", aet="ORTHANC", host="127.0.0.1", port=dicom), http)
        finally:
            process.terminate()
            process.wait(20)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/system").status_code == 200
    except httpx.TransportError:
        return False


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until something is there."""
    for _ in range(200):
        if found := await check():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("it did not happen")


async def test_orthanc_asks_and_is_told_what_is_stored(world: CommitmentArchive, orthanc: CommittingOrthanc) -> None:
    await world.room.index.remotes.put_modality(orthanc.modality)
    item = await world.stored()
    body = {"DicomInstances": [{"SOPClassUID": c, "SOPInstanceUID": i} for c, i in (item, UNKNOWN)]}
    asked = await asyncio.to_thread(orthanc.http.post, "/modalities/osteon/storage-commitment", json=body)
    assert asked.status_code == 200, asked.text
    await world.run()

    async def over() -> Any:
        report = (await asyncio.to_thread(orthanc.http.get, asked.json()["Path"])).json()
        return report if report["Status"] != "Pending" else None

    report = await until(over)
    assert report["Status"] == "Failure"
    assert report["Success"] == [body["DicomInstances"][0]]
    assert [(each["SOPInstanceUID"], each["FailureReason"]) for each in report["Failures"]] == [(UNKNOWN[1], 0x0112)]


async def test_orthanc_is_asked_and_tells_what_it_has(world: CommitmentArchive, orthanc: CommittingOrthanc) -> None:
    index, dataset = world.room.index, ct_slice()
    await index.remotes.put_modality(orthanc.modality)
    stored = await asyncio.to_thread(orthanc.http.post, "/instances", content=part10(dataset))
    assert stored.status_code == 200, stored.text
    item = CommitmentItem(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
    commitment, _ = await request_commitment(
        index.commitments, world.jobs, orthanc.modality, [item, UNKNOWN], aet="OSTEON"
    )
    await world.run()

    async def over() -> Any:
        found = await index.commitments.by_transaction(commitment.transaction_uid)
        return found if found.failures is not None else None

    found = await until(over)
    assert (found.successes, found.failures) == ((item,), ((UNKNOWN, 0x0112),))
