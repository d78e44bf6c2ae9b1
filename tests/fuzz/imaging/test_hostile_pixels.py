"""Damaged and lying pixel data in worker processes: an answer for each, and the service lives on."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from osteon.dicom.pixels.registry import CODECS, Family
from osteon_imaging.tasks import TaskFailure, TranscodeTask
from osteon_imaging.worker_pool import WorkerPool
from support.dicom.pixels.images import NATIVE, SYNTAX, image, into
from support.dicom.real_files import dataset_bytes

pytestmark = pytest.mark.slow
ENCAPSULATED = [uid for uid, codec in CODECS.items() if codec.lossless and codec.family is not Family.NATIVE]
JPEG = SYNTAX + "4.50"
ATTEMPTS = 12


def damaged(data: bytes, start: int, rng: random.Random) -> Iterator[bytes]:
    """Give copies of a file with its last part, from `start` on, corrupt: bytes, runs, ends, lengths."""
    for _ in range(ATTEMPTS):
        corrupt = bytearray(data)
        match rng.randrange(4):
            case 0:
                for _ in range(rng.randrange(1, 20)):
                    corrupt[rng.randrange(start, len(data))] = rng.randrange(256)
            case 1:
                at = rng.randrange(start, len(data))
                corrupt[at : at + rng.randrange(1, 64)] = bytes([rng.choice((0, 0xFF))]) * rng.randrange(1, 64)
            case 2:
                del corrupt[rng.randrange(start, len(data)) :]
            case _:
                at = rng.randrange(start, len(data) - 4)
                corrupt[at : at + 4] = b"\xff\xff\xff\x7f"
        yield bytes(corrupt)


@pytest.mark.parametrize("uid", [*ENCAPSULATED, JPEG])
async def test_damaged_bit_streams_are_answered_and_the_next_request_is_served(uid: str, tmp_path: Path) -> None:
    lossy = {"lossy": [uid]} if uid == JPEG else {}
    _, path = into(image(rows=40, columns=30, samples=3, allocated=8, stored=8, frames=2), uid, tmp_path, **lossy)
    data = path.read_bytes()
    start = data.rindex(b"\xe0\x7f\x10\x00", 0, len(data) - len(dataset_bytes(data)) + 2000)
    workers = WorkerPool(1, tasks=1000, seconds=20, idle=60)
    for number, corrupt in enumerate(damaged(data, start, random.Random(uid))):
        source = tmp_path / f"corrupt-{number}"
        await asyncio.to_thread(source.write_bytes, corrupt)
        outcome = await workers.run(a_task(source))
        assert outcome.failure is None or (outcome.failure in TaskFailure and outcome.error)
    assert (await workers.run(a_task(path))).failure is None
    await workers.close()


@pytest.mark.parametrize("number", ["4.90", "4.80", "4.70", "4.201", "4.110", "5", "8.1"])
async def test_a_stream_that_claims_another_size_is_refused_within_bounds(number: str, tmp_path: Path) -> None:
    _, path = into(image(rows=64, columns=64), SYNTAX + number, tmp_path)
    data = path.read_bytes()
    big = tmp_path / "big"
    # The attributes lie: the stream is smaller than Rows and Columns say.
    rows, columns = b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"
    for name in (rows, columns):
        at = data.index(name) + 8
        data = data[:at] + b"\x00\x20" + data[at + 2 :]
    big.write_bytes(data)
    workers = WorkerPool(1, tasks=9, seconds=20, idle=60)
    outcome = await workers.run(a_task(big))
    assert outcome.failure in (TaskFailure.DAMAGED, TaskFailure.MEMORY)
    await workers.close()


def a_task(source: Path) -> TranscodeTask:
    return TranscodeTask(
        source=str(source), destination=str(source.with_suffix(".out")), targets=[NATIVE], lossy=[], quality=90,
        memory=1 << 28, frame_bytes=1 << 28, frame_seconds=5,
    )  # fmt: skip
