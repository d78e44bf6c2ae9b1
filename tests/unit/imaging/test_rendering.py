"""The rendering side of the imaging service: pictures by worker processes, kept, shared and refused."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset

from osteon import metrics
from osteon.bus.memory import MemoryBus
from osteon.contracts.imaging import INLINE_BYTES, RENDERED, RenderReply, RenderRequest
from osteon.contracts.topology import RENDER
from osteon.dicom.pixels.render_options import RenderOptions
from osteon.errors import FailureKind
from osteon.objects.folder import FolderObjects
from osteon.objects.port import ObjectsUnavailable
from osteon.settings import ImagingSettings
from osteon_imaging.build import build_embedded
from osteon_imaging.priority_semaphore import Urgency
from osteon_imaging.tasks import RenderTask, TaskFailure
from osteon_imaging.worker_pool import WORKER_COMMAND, WorkerPool
from support.bus.messages import failure_of
from support.dicom.datasets import saved
from support.dicom.pixels.rendering import grey
from support.metric_values import value
from support.services.embedded import embedded

pytestmark = pytest.mark.slow
PNG, OCTETS = "image/png", "application/octet-stream"


class RenderingService:
    def __init__(self, bus: MemoryBus, objects: FolderObjects) -> None:
        self.bus = bus
        self.objects = objects

    async def ask(self, key: str, length: int, *, offset: int = 0, **wanted: object) -> RenderReply:
        usual = {"mode": "preview", "media_type": PNG, "frames": [1], "correlation_id": "c1"}
        where = {"key": key, "offset": offset, "length": length}
        message = RenderRequest.model_validate({**usual, **where, **wanted})
        return await self.bus.request(RENDER, message, timeout=60)

    async def refused(self, key: str, length: int, **wanted: Any) -> tuple[FailureKind, str]:
        failure = await failure_of(self.ask(key, length, **wanted))
        return failure.kind, str(failure)

    async def kept(self) -> list[str]:
        return [info.key async for info in self.objects.list(RENDERED)]


@asynccontextmanager
async def serving(
    folder: Path, command: Sequence[str] = WORKER_COMMAND, **settings: object
) -> AsyncIterator[RenderingService]:
    bus, objects = MemoryBus(), FolderObjects(folder / "objects")
    await bus.start()
    usual = ImagingSettings(imaging_workers=1, imaging_min_idle_workers=0)
    chosen = usual.model_copy(update=settings)
    async with embedded(build_embedded, chosen, bus=bus, objects=objects, worker_command=command):
        yield RenderingService(bus, objects)
        await bus.close()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[RenderingService]:
    async with serving(tmp_path) as running:
        yield running


CRASHING = (sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit(3)")
"""A worker that crashes with its first task."""
MISSES, HITS = metrics.RENDER_CACHE_REQUESTS.labels("miss"), metrics.RENDER_CACHE_REQUESTS.labels("hit")


def steps(frames: int = 1) -> Dataset:
    """A ramp, another one in each frame."""
    values = np.arange(12, dtype="<u2").reshape(3, 4)
    return grey(np.stack([values * (n + 1) for n in range(frames)]) if frames > 1 else values)


async def stored(service: RenderingService, folder: Path, dataset: Dataset, key: str = "1/2/p.tar") -> int:
    data = saved(dataset, folder).read_bytes()
    await service.objects.put(key, b"x" * 512 + data + b"y" * 100)
    return len(data)


async def test_a_picture_of_a_file_within_an_object_is_made_once_and_then_comes_from_the_cache(
    service: RenderingService, tmp_path: Path
) -> None:
    length = await stored(service, tmp_path, steps())
    misses, hits = value(MISSES), value(HITS)
    first = await service.ask("1/2/p.tar", length, offset=512)
    assert (first.media_type, first.length, first.frames) == (PNG, len(first.data), [])
    assert imagecodecs.png_decode(first.data).tolist() == [[0, 23, 46, 70], [93, 116, 139, 162], [185, 209, 232, 255]]
    while await service.kept() != [first.key]:
        await asyncio.sleep(0.01)
    again = await service.ask("1/2/p.tar", length, offset=512, correlation_id="c2")
    assert again == first.model_copy(update={"correlation_id": "c2"})
    assert (value(MISSES) - misses, value(HITS) - hits) == (1, 1)


async def test_another_replica_answers_from_the_cache_without_a_worker(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        length = await stored(service, tmp_path, steps())
        first = await service.ask("1/2/p.tar", length, offset=512)
    async with serving(tmp_path, CRASHING) as service:
        assert (await service.ask("1/2/p.tar", length, offset=512)).data == first.data
        assert "status 3" in (await service.refused("1/2/p.tar", length, offset=512, mode="uint8"))[1]


async def test_equal_requests_at_the_same_time_are_one(service: RenderingService, tmp_path: Path) -> None:
    length = await stored(service, tmp_path, steps())
    misses = value(MISSES)
    answers = await asyncio.gather(
        *(service.ask("1/2/p.tar", length, offset=512, correlation_id=str(n)) for n in range(5))
    )
    assert {answer.data for answer in answers} == {answers[0].data}
    assert [answer.correlation_id for answer in answers] == list("01234")
    assert value(MISSES) - misses == 1


async def test_several_frames_follow_one_another_and_their_lengths_are_told(
    service: RenderingService, tmp_path: Path
) -> None:
    length = await stored(service, tmp_path, steps(3))
    for _ in range(2):
        answer = await service.ask("1/2/p.tar", length, offset=512, frames=[3, 1], mode="uint16")
        first, second = answer.data[: answer.frames[0]], answer.data[answer.frames[0] :]
        assert imagecodecs.png_decode(first).max() == 33
        assert imagecodecs.png_decode(second).max() == 11
        while not await service.kept():
            await asyncio.sleep(0.01)


async def test_what_is_too_large_for_an_answer_is_in_the_object_store(
    service: RenderingService, tmp_path: Path
) -> None:
    side = int(INLINE_BYTES**0.5)
    values = np.arange(side * side, dtype="<u2").reshape(side, side)
    length = await stored(service, tmp_path, grey(values))
    for _ in range(2):
        answer = await service.ask("1/2/p.tar", length, offset=512, mode="frames", media_type=OCTETS)
        assert (answer.data, answer.length) == (b"", values.nbytes)
        assert await service.objects.get_range(answer.key, 0, answer.length) == values.tobytes()


async def test_decoded_frames_that_fit_into_an_answer_are_not_kept(service: RenderingService, tmp_path: Path) -> None:
    length = await stored(service, tmp_path, steps())
    answer = await service.ask("1/2/p.tar", length, offset=512, mode="frames", media_type=OCTETS)
    assert answer.data == np.arange(12, dtype="<u2").tobytes()
    assert await service.kept() == []


async def test_what_can_not_be_shown_is_answered_with_the_reason_and_a_kind(
    service: RenderingService, tmp_path: Path
) -> None:
    length = await stored(service, tmp_path, steps())
    damaged, text = steps(), steps()
    damaged.BitsStored = 99
    del text.PixelData
    lengths = {"a": await stored(service, tmp_path, damaged, "a"), "b": await stored(service, tmp_path, text, "b")}
    answers = {
        "no frame 2": (FailureKind.NOT_FOUND, await service.refused("1/2/p.tar", length, offset=512, frames=[2])),
        "not there any more": (FailureKind.UNSUPPORTED, await service.refused("absent", length)),
        "are not in a pack": (FailureKind.UNSUPPORTED, await service.refused("1/2/p.tar", length + 1000, offset=512)),
        "0028,0101": (FailureKind.UNSUPPORTED, await service.refused("a", lengths["a"], offset=512)),
        "no image": (FailureKind.UNSUPPORTED, await service.refused("b", lengths["b"], offset=512)),
    }
    for reason, (expected, (kind, text)) in answers.items():
        assert reason in text
        assert kind is expected, reason
    assert await service.kept() == []


async def test_a_picture_that_killed_its_worker_is_refused_for_a_while_and_others_are_not(tmp_path: Path) -> None:
    async with serving(tmp_path, CRASHING) as service:
        length = await stored(service, tmp_path, steps())
        first = await service.refused("1/2/p.tar", length, offset=512)
        assert first == (FailureKind.UNSUPPORTED, "the worker crashed (status 3)")
        again = await service.refused("1/2/p.tar", length, offset=512)
        assert again == (FailureKind.UNSUPPORTED, f"{first[1]}; not tried again for a while")
        assert "not tried" not in (await service.refused("1/2/p.tar", length, offset=512, mode="uint8"))[1]


async def test_a_warm_worker_stays_without_work_and_is_replaced_when_it_dies(tmp_path: Path) -> None:
    workers = WorkerPool(1, tasks=99, seconds=60, idle=0.01, warm=1)
    await workers.warm_up()
    (first,) = workers.pids
    task = RenderTask(
        source=str(saved(steps(), tmp_path)), destination=str(tmp_path / "out"), memory=1 << 30, frame_bytes=1 << 20,
        frame_seconds=20, options=RenderOptions(mode="preview"),
    )  # fmt: skip
    assert (await workers.run(task, Urgency.NOW)).failure is None
    await asyncio.sleep(0.1)
    assert workers.pids == [first]
    working = asyncio.create_task(workers.run(task.model_copy(update={"source": endless(tmp_path)}), Urgency.NOW))
    while workers.pids:
        await asyncio.sleep(0.01)
    os.kill(first, signal.SIGKILL)
    assert (await working).failure is TaskFailure.KILLED
    while not workers.pids:
        await asyncio.sleep(0.01)
    assert (await workers.run(task, Urgency.NOW)).failure is None
    await workers.close()
    assert workers.pids == []


def endless(folder: Path) -> str:
    """A source that a worker waits for until it is killed."""
    os.mkfifo(folder / "fifo")
    return str(folder / "fifo")


async def test_a_picture_has_the_time_that_somebody_waits_for_it(tmp_path: Path, service: RenderingService) -> None:
    await service.objects.put("1/2/p.tar", b"")
    path = service.objects.path("1/2/p.tar")
    path.unlink()
    os.mkfifo(path)  # a worker waits for it
    refused = await service.refused("1/2/p.tar", 0, seconds=1.5)
    assert refused == (FailureKind.TIMEOUT, "took longer than 1.5 s")


async def test_without_the_object_store_the_answer_says_so(
    service: RenderingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object) -> AsyncGenerator[bytes, None]:
        raise ObjectsUnavailable("the disk is gone")
        yield b""

    monkeypatch.setattr(service.objects, "stream", down)
    assert await service.refused("1/2/p.tar", 9) == (FailureKind.UNAVAILABLE, "the disk is gone")


async def test_nothing_of_a_request_stays_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    async with serving(tmp_path) as service:
        length = await stored(service, tmp_path, steps())
        await service.ask("1/2/p.tar", length, offset=512)
        (folder,) = temporary.iterdir()
        while list(folder.iterdir()):
            await asyncio.sleep(0.01)
    assert list(temporary.iterdir()) == []
