"""Storage commitment with Orthanc, which asks and is asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from osteon.commitment.port import CommitmentItem
from osteon.commitment.requests import request_commitment
from osteon.remotes.port import Modality
from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.archive.running import RunningArchive
from support.dicom.datasets import ct_slice
from support.dispatcher.commitment import UNKNOWN, CommitmentArchive, commitment_world
from support.packs.sealed_packs import part10

pytestmark = [pytest.mark.slow, needs_orthanc]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CommitmentArchive]:
    async with commitment_world(tmp_path / "osteon") as made:
        yield made


@pytest.fixture
def orthanc(world: CommitmentArchive, tmp_path: Path) -> Iterator[OrthancServer]:
    with running_orthanc(tmp_path, RunningArchive(world.port, "http://127.0.0.1")) as running:
        yield running


def modality(orthanc: OrthancServer) -> Modality:
    return Modality(name="orthanc", aet=orthanc.aet, host="127.0.0.1", port=orthanc.dicom_port)


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until something is there."""
    for _ in range(200):
        if found := await check():
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("it did not happen")


async def test_orthanc_asks_and_is_told_what_is_stored(world: CommitmentArchive, orthanc: OrthancServer) -> None:
    await world.room.index.remotes.put_modality(modality(orthanc))
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


async def test_orthanc_is_asked_and_tells_what_it_has(world: CommitmentArchive, orthanc: OrthancServer) -> None:
    index, dataset = world.room.index, ct_slice()
    await index.remotes.put_modality(modality(orthanc))
    stored = await asyncio.to_thread(orthanc.http.post, "/instances", content=part10(dataset))
    assert stored.status_code == 200, stored.text
    item = CommitmentItem(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
    commitment, _ = await request_commitment(
        index.commitments, world.jobs, modality(orthanc), [item, UNKNOWN], aet="OSTEON"
    )
    await world.run()

    async def over() -> Any:
        found = await index.commitments.by_transaction(commitment.transaction_uid)
        return found if found.failures is not None else None

    found = await until(over)
    assert (found.successes, found.failures) == ((item,), ((UNKNOWN, 0x0112),))
