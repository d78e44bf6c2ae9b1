"""Routing by a running archive, in each of its forms: rules made by REST, what arrives, and when."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from osteon_local.part import free_port
from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("archives"),
    pytest.mark.skipif(shutil.which("storescp") is None, reason="DCMTK is not installed"),
]


class StorescpDestination:
    """DCMTK's receiver, which can be down; the archive knows it as a modality of its own name."""

    def __init__(self, archive: RunningArchive, folder: Path) -> None:
        self.name = f"d{generate_uid()[-12:]}"
        self.folder = folder / self.name
        self.folder.mkdir()
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        body = [self.name.upper(), "127.0.0.1", self._port]
        httpx.put(f"{archive.url}/modalities/{self.name}", json=body).raise_for_status()

    def up(self) -> None:
        self._process = subprocess.Popen(
            ["storescp", "-od", str(self.folder), "-aet", self.name.upper(), "+B", str(self._port)],
            env={**os.environ, "TCP_NODELAY": "1"},
        )

    def down(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(30)

    @property
    def received(self) -> dict[str, bytes]:
        """Data sets by SOP Instance UID."""
        return {dcmread(path, stop_before_pixels=True).SOPInstanceUID: dataset_bytes(path) for path in self._files()}

    def _files(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.stat().st_size > 0]


@pytest.fixture
def destination(archive: RunningArchive, tmp_path: Path) -> Iterator[StorescpDestination]:
    made = StorescpDestination(archive, tmp_path)
    yield made
    made.down()
    httpx.delete(f"{archive.url}/modalities/{made.name}").raise_for_status()


@contextmanager
def rule(archive: RunningArchive, to: StorescpDestination, study: str, **body: Any) -> Iterator[str]:
    """Keep a rule for one study for a while; yields its URL."""
    url = f"{archive.url}/rules/{to.name}"
    match = {"StudyInstanceUID": study, **body.pop("match", {})}
    given = {"when": "instance", "send": [{"modality": to.name}], **body, "match": match}
    httpx.put(url, json=given).raise_for_status()
    try:
        yield url
    finally:
        httpx.delete(url).raise_for_status()


def sent(archive: RunningArchive, folder: Path, *datasets: Dataset) -> dict[str, bytes]:
    """Send; returns data sets by SOP Instance UID."""
    files = [saved(dataset, folder) for dataset in datasets]
    assert archive.send(files) == [0x0000] * len(files)
    return {path.stem: dataset_bytes(path) for path in files}


def found(archive: RunningArchive, study: str, count: int) -> str:
    """Wait until so many instances of a study are indexed; returns its public identifier."""

    def look() -> str:
        body = {"Level": "Study", "Query": {"StudyInstanceUID": study}, "Expand": True}
        studies = httpx.post(f"{archive.url}/tools/find", json=body).raise_for_status().json()
        if not studies:
            return ""
        public_id = str(studies[0]["ID"])
        return public_id if len(archive.get(f"/studies/{public_id}/instances").json()) == count else ""

    return eventually(look)


def test_what_matches_a_rule_arrives_byte_for_byte_and_nothing_else(archive, destination, tmp_path):
    study, series = generate_uid(), [generate_uid(), generate_uid()]
    destination.up()
    with rule(archive, destination, study, match={"InstanceNumber": {"<=": 4}}):
        slices = sent(archive, tmp_path, *(ct_slice(study=study, series=series[n % 2], number=n) for n in range(8)))
        found(archive, study, 8)
        eventually(lambda: len(destination.received) == 5)
    wanted = {uid: data for uid, data in slices.items() if uid in destination.received}
    assert len(wanted) == 5
    assert destination.received == wanted


def test_a_destination_that_was_down_gets_everything_when_it_is_up(archive, destination, tmp_path):
    study = generate_uid()
    with rule(archive, destination, study):
        slices = {}
        for n in range(3):
            slices |= sent(archive, tmp_path, ct_slice(study=study, number=n))
        public_id = found(archive, study, 3)
        shown = eventually(
            lambda: archive.get("/destinations").json()[f"modality:{destination.name}"]["Failures"] and "failed"
        )
        assert (shown, public_id != "") == ("failed", True)
        destination.up()
        eventually(lambda: destination.received == slices, seconds=60)
        eventually(lambda: archive.get("/destinations").json()[f"modality:{destination.name}"]["State"] == "closed")
        assert archive.get(f"/rules/{destination.name}/failed").json() == []


def test_a_stable_study_is_told_once_and_sent_once(archive, destination, tmp_path):
    study, series = generate_uid(), generate_uid()
    destination.up()
    with rule(archive, destination, study, when="study"):
        first = sent(archive, tmp_path, *(ct_slice(study=study, series=series, number=n) for n in range(3)))
        public_id = found(archive, study, 3)
        eventually(lambda: archive.get(f"/studies/{public_id}").json()["IsStable"])
        eventually(lambda: destination.received == first)

        def told() -> list[str]:
            page = archive.get("/changes", params={"type": "StableStudy", "limit": 10_000}).json()
            return [change["ChangeType"] for change in page["Changes"] if change["ID"] == public_id]

        assert told() == ["StableStudy"]
        jobs = archive.get("/jobs", params={"expand": ""}).json()
        mine = [job for job in jobs if job.get("Content", {}).get("Rule") == destination.name]
        assert len(mine) == 1
