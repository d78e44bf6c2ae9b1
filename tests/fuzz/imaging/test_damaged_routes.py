"""Damaged pixel data at every route of pictures and frames, by real workers: whatever comes, it is no server error."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate

from osteon.sending.transcoder import Transcoder
from osteon.settings import ImagingSettings
from osteon_imaging.build import build_embedded
from osteon_query.packs.instance_reader import LOSSY
from support.dicom.datasets import saved
from support.dicom.pixels.images import SYNTAX, image, into
from support.fuzz.case_counts import EFFORT
from support.packs.sealed_packs import part10
from support.query.application import WEB, QuerySettings, RunningQuery, door
from support.services.embedded import embedded

pytestmark = pytest.mark.slow

OCTETS = "application/octet-stream"
ACCEPTS = (OCTETS, f"{OCTETS}; transfer-syntax=*", f'multipart/related; type="{OCTETS}"', "image/jls", "image/png")
OF_INSTANCES = ("preview", "rendered", "image-uint8", "image-uint16", "image-int16", "numpy", "matlab")
NUMBERS = ("1", "2", "", "5", "5.1", "4.50", "4.57", "4.70", "4.80", "4.90", "4.201", "4.110", "8.1", "1.98", "1.99")
KINDS = 6
ATTEMPTS = KINDS if EFFORT > 1 else 3
"""Of the kinds of damage a transfer syntax gets half, its neighbours the other half."""


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    settings = ImagingSettings(imaging_workers=2, imaging_frame_seconds=60, imaging_seconds=120)
    async with (
        door(tmp_path, QuerySettings(render_seconds=120)) as running,
        embedded(build_embedded, settings, bus=running.bus, objects=running.objects),
    ):
        running.change(transcoder=Transcoder(running.objects, running.bus, LOSSY, 120))
        yield running


def good(number: str, folder: Path) -> bytes:
    """Return a file of three frames in a transfer syntax."""
    dataset = image(rows=20, columns=14, allocated=8, stored=8, frames=3)
    if number == "5.1":
        dataset.PixelData = encapsulate([b"no RLE"] * 2 + [bytes(64)])
        dataset.file_meta.TransferSyntaxUID = SYNTAX + "5"
        return part10(dataset)
    if number == "4.57":
        values = np.frombuffer(dataset.PixelData, "u1").reshape(3, 20, 14)
        dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(frame, lossless=True) for frame in values])
        dataset.file_meta.TransferSyntaxUID = SYNTAX + number
        return part10(dataset)
    if number == "1":
        return part10(dataset)
    lossy = {"lossy": [SYNTAX + number]} if number == "4.50" else {}
    return into(saved(dataset, folder), (SYNTAX + number).rstrip("."), folder, **lossy)[1].read_bytes()


def damaged(data: bytes, rng: random.Random, first: int) -> Iterator[bytes]:
    """Give copies with bytes, lengths, ends and attributes of the pixel data corrupt; identifiers stay.

    `first` is the kind of damage to begin with.
    """
    start = data.find(b"\x28\x00\x02\x00")
    if start < 0:  # implicit or deflated, or the other byte order
        start = len(data) - min(1000, len(data) // 3)
    for kind in range(first, first + ATTEMPTS):
        corrupt = bytearray(data)
        match kind % KINDS:
            case 0:
                del corrupt[rng.randrange(start, len(data)) :]
            case 1:
                for _ in range(rng.randrange(1, 20)):
                    corrupt[rng.randrange(start, len(data))] = rng.randrange(256)
            case 2:
                at = rng.randrange(start, len(data) - 4)
                corrupt[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\x7f", bytes(4), b"\xfe\xff\xdd\xe0", b"\xff\xff\xff\xff")
                )
            case 3:
                del corrupt[-8:]
            case 4:
                tag = rng.choice((b"\x10\x00", b"\x11\x00", b"\x08\x00", b"\x00\x01", b"\x01\x01", b"\x02\x00"))
                at = data.find(b"\x28\x00" + tag, start) + 8
                corrupt[at : at + 2] = rng.choice((b"\0\0", b"9 ", b"\xff\xff", b"\x01\x00", b"x ", b"\x28\0"))
            case _:
                at = rng.randrange(start, len(data))
                corrupt[at:at] = rng.randbytes(rng.randrange(1, 300))
        yield bytes(corrupt)


@pytest.mark.parametrize("number", NUMBERS)
async def test_no_route_of_pictures_or_frames_answers_damage_with_a_server_error(
    number: str, archive: RunningQuery, tmp_path: Path
) -> None:
    wrong: list[tuple[int, str, int, str]] = []
    whole = good(number, tmp_path)
    kind = NUMBERS.index(number) * ATTEMPTS
    for attempt, corrupt in enumerate(damaged(whole, random.Random(number), kind)):
        # Another instance each time: its UID has as many characters.
        uid = instance_uid(whole)
        data = corrupt.replace(uid, uid[:-2] + b"%02d" % attempt)
        stored = await archive.http.post("/instances", content=data)
        if stored.status_code != 200:
            assert stored.status_code == 400, stored.text
            continue
        url = await named(archive, stored.json()["ID"])
        wanted = routes(stored.json()["Path"], url)
        answers = await asyncio.gather(*(ask(archive, path, accept) for path, accept in wanted))
        wrong += [(attempt, path, status, detail) for path, status, detail in answers if status >= 500]
    assert wrong == []


def instance_uid(data: bytes) -> bytes:
    at = data.find(b"\x02\x00\x03\x00UI") + 8
    return data[at : at + int.from_bytes(data[at - 2 : at], "little")].rstrip(b"\0")


async def named(archive: RunningQuery, identifier: str) -> str:
    tags = await archive.json(f"/instances/{identifier}/tags?simplify")
    uids = (tags["StudyInstanceUID"], tags["SeriesInstanceUID"], tags["SOPInstanceUID"])
    return "/studies/{}/series/{}/instances/{}".format(*uids)


def routes(path: str, url: str) -> Iterator[tuple[str, str]]:
    """Yield paths, and what is accepted there."""
    for name in (*OF_INSTANCES, "frames"):
        yield f"{path}/{name}", "*/*"
    for frame in (0, 2, 3):
        for name in (*OF_INSTANCES, "raw", "raw.gz"):
            yield f"{path}/frames/{frame}/{name}", "*/*"
    for frames in ("1", "3", "4", "1,2,3"):
        for accept in ACCEPTS:
            yield f"{WEB}{url}/frames/{frames}", accept
        for name in ("rendered", "thumbnail"):
            yield f"{WEB}{url}/frames/{frames}/{name}", "image/png"
    for accept in ("image/png", "image/gif", 'multipart/related; type="image/jpeg"'):
        yield f"{WEB}{url}/rendered", accept
    yield f"{WEB}{url}/thumbnail", "image/jpeg"
    yield f"{WEB}{url}/bulk/7FE00010", OCTETS
    for accept in ("application/dicom", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80"):
        yield f"{WEB}{url}", accept
    _, _, study, _, series, _, instance = url.split("/")
    wado = f"/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
    for rest in ("contentType=image/png", "contentType=image/gif", "contentType=image/jpeg&frameNumber=3", "rows=9"):
        yield f"{wado}&{rest}", "*/*"


async def ask(archive: RunningQuery, path: str, accept: str) -> tuple[str, int, str]:
    answer = await archive.http.get(path, headers={"Accept": accept})
    return f"{path} ({accept})", answer.status_code, answer.text[:300] if answer.status_code >= 500 else ""
