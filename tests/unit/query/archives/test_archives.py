"""`osteon_query.archives` behind its routes: names, transcoding with loss, and how far a job is."""

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from osteon.archive.resources import Match, Patient, Series, Study
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon_query.archives import jobs
from osteon_query.archives.jobs import ArchiveJobs, ArchiveParams
from osteon_query.archives.names import ArchiveNames
from support.dicom.datasets import ct_slice
from support.imaging.in_process import InProcessImaging
from support.jobs.in_memory import FakeJobs, FakeRun
from support.query.application import RunningQuery


def opened(answer: httpx.Response) -> zipfile.ZipFile:
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.content))


def eight_bits() -> Dataset:
    """Return an image that JPEG Baseline can hold."""
    pixels = np.arange(64 * 64, dtype=np.uint16).astype(np.uint8)
    return ct_slice(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels.tobytes())


def id_of(dataset: Dataset) -> str:
    return public_id(dataset.PatientID, dataset.StudyInstanceUID)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit])
async def test_the_dicomdir_names_what_is_on_the_medium_after_a_loss_too(
    archive: RunningQuery, pixels: InProcessImaging, syntax: str
) -> None:
    dataset = eight_bits()
    await archive.stow(dataset)
    query = {"transcode": syntax, "lossy-quality": "42"}
    files = opened(await archive.http.get(f"/studies/{id_of(dataset)}/media", params=query))
    (image,) = [
        each
        for each in dcmread(io.BytesIO(files.read("DICOMDIR"))).DirectoryRecordSequence
        if each.DirectoryRecordType == "IMAGE"
    ]
    stored = dcmread(io.BytesIO(files.read("IMAGES/IM0")))
    assert image.ReferencedSOPInstanceUIDInFile == stored.SOPInstanceUID
    assert image.ReferencedTransferSyntaxUIDInFile == stored.file_meta.TransferSyntaxUID == syntax
    assert (stored.SOPInstanceUID == dataset.SOPInstanceUID) is (syntax == ExplicitVRLittleEndian)
    assert [each.quality for each in pixels.transcoded] == ([42] if syntax == JPEGBaseline8Bit else [])


@pytest.mark.parametrize(("given", "sent"), [
    ("my.zip", 'attachment; filename="my.zip"'),
    ("日本.zip", "attachment; filename=\"__.zip\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.zip"),
    ('"\r\nX: y', 'attachment; filename="___X_ y"'),
])  # fmt: skip
async def test_the_name_of_the_file_is_the_client_s(archive: RunningQuery, given: str, sent: str) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    answer = await archive.http.get(f"/studies/{id_of(dataset)}/archive", params={"filename": given})
    assert (answer.status_code, answer.headers["Content-Disposition"]) == (200, sent)


@pytest.mark.parametrize(("query", "field"), [("lossy-quality=0", "LossyQuality"), ("lossy-quality=x", "LossyQuality")])
async def test_a_quality_that_cannot_be_is_refused(archive: RunningQuery, query: str, field: str) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    answer = await archive.http.get(f"/studies/{id_of(dataset)}/archive?{query}")
    assert (answer.status_code, field in answer.json()["Details"]) == (400, True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../etc/passwd", "etcpasswd"), ("..", "Unknown Patient"), ("a\\b:c|d", "abcd"), ("CON", "_CON"),
        ("nul.txt", "_nul.txt"), ("x" * 300, "x" * 120), (" a \t\r\n b. ", "a b"), ("\x00\x1b", "Unknown Patient"),
    ],
)  # fmt: skip
def test_folders_are_safe_on_every_file_system(text: str, name: str) -> None:
    now = datetime.now(UTC)
    patient = Patient("p", {"PatientName": text}, 1, 1, 1, 1, now)
    study = Study("t", {}, {}, (), (), 1, 1, 1, now)
    match = Match(Level.SERIES, patient, study, Series("s", {}, (), 1, 1, now))
    assert ArchiveNames().folder(match) == f"{name}/Unknown Study/Unknown Series"


async def test_a_job_says_how_far_it_is(archive: RunningQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_SAVED_EVERY", 1)
    first = ct_slice()
    await archive.stow(first, *(ct_slice(study=str(first.StudyInstanceUID), number=n) for n in range(1, 4)))
    made = ArchiveJobs(
        writer=archive.state.archives, objects=archive.objects, folder=tmp_path, keep=9, keep_bytes=1 << 30
    )
    fake = FakeJobs()
    job = await fake.submit(ArchiveParams.TYPE, ArchiveParams(resources=(id_of(first),)).params(), content={})
    seen: list[int] = []

    class Watched(FakeRun):
        async def save(self, **changed: Any) -> None:
            seen.append(changed["progress"])
            await super().save(**changed)

    await made.types()[job.type].work(Watched(fake, job))
    assert seen == sorted(seen)
    assert {0, 100} < set(seen)
