"""The imaging service: files through worker processes, and what happens when those die."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from osteon.bus.memory import MemoryBus
from osteon.contracts.imaging import TranscodeReply, TranscodeRequest
from osteon.contracts.topology import TRANSCODE
from osteon.objects.folder import FolderObjects
from osteon.settings import ImagingSettings
from osteon_imaging.build import build_embedded
from osteon_imaging.poison import PoisonCache
from osteon_imaging.tasks import TaskFailure, TaskOutcome, TranscodeTask
from osteon_imaging.transcode_cleanup import PREFIX, delete_expired, new_key
from osteon_imaging.worker_pool import WorkerPool
from support.bus.messages import failure_of
from support.dicom.datasets import saved
from support.dicom.pixels.images import SYNTAX, image
from support.services.embedded import embedded

pytestmark = pytest.mark.slow

J2K = SYNTAX + "4.90"


class TranscodingService:
    def __init__(self, bus: MemoryBus, objects: FolderObjects) -> None:
        self.bus = bus
        self.objects = objects

    async def ask(self, key: str, length: int, *, offset: int = 0, targets: tuple[str, ...] = (J2K,)) -> TranscodeReply:
        message = TranscodeRequest(correlation_id="c1", key=key, offset=offset, length=length, targets=list(targets))
        return await self.bus.request(TRANSCODE, message, timeout=60)

    async def refused(self, key: str, length: int, *, targets: tuple[str, ...] = (J2K,)) -> str:
        return str(await failure_of(self.ask(key, length, targets=targets)))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[TranscodingService]:
    bus, objects = MemoryBus(), FolderObjects(tmp_path / "objects")
    await bus.start()
    async with embedded(build_embedded, ImagingSettings(imaging_workers=1), bus=bus, objects=objects):
        yield TranscodingService(bus, objects)
        await bus.close()


def file_of(dataset: Dataset, folder: Path) -> bytes:
    return saved(dataset, folder).read_bytes()


async def test_a_file_within_an_object_is_transcoded_into_an_object_of_its_own(
    service: TranscodingService, tmp_path: Path
) -> None:
    dataset = image(frames=3)
    data = file_of(dataset, tmp_path)
    await service.objects.put("1/2/p.tar", b"x" * 512 + data + b"y" * 100)
    answer = await service.ask("1/2/p.tar", len(data), offset=512)
    assert (answer.transfer_syntax_uid, answer.correlation_id) == (J2K, "c1")
    assert answer.sop_instance_uid == dataset.SOPInstanceUID
    made = await service.objects.get(answer.key)
    assert len(made) == answer.length
    (tmp_path / "made.dcm").write_bytes(made)
    assert (dcmread(tmp_path / "made.dcm").pixel_array == dataset.pixel_array).all()
    assert answer.key.startswith(PREFIX)


@pytest.mark.parametrize("case", ["no file", "absent", "beyond", "video", "damaged"])
async def test_what_can_not_be_done_is_answered_with_the_reason(
    case: str, service: TranscodingService, tmp_path: Path
) -> None:
    data = file_of(image(Rows=9999), tmp_path)
    await service.objects.put("a", data if case in ("video", "damaged", "beyond") else b"nothing of the kind")
    key = "b" if case == "absent" else "a"
    length = len(data) + 1 if case == "beyond" else len(await service.objects.get("a"))
    target = SYNTAX + "4.100" if case == "video" else J2K
    reason = await service.refused(key, length, targets=(target,))
    wanted = {
        "no file": "DICM",
        "absent": "not there",
        "beyond": "bytes",
        "video": "no encoder",
        "damaged": "bytes are missing",
    }
    assert wanted[case] in reason
    assert [info async for info in service.objects.list("cache/")] == []


def a_task(folder: Path, source: Path, **bounds: float) -> TranscodeTask:
    return TranscodeTask(
        source=str(source),
        destination=str(folder / "out"),
        targets=[J2K],
        lossy=[],
        quality=90,
        memory=int(bounds.get("memory", 1 << 30)),
        frame_bytes=1 << 29,
        frame_seconds=bounds.get("frame_seconds", 20.0),
    )


def faking(script: str) -> tuple[str, ...]:
    """A worker that does what `script` says when it gets a task."""
    return (sys.executable, "-c", f"import os, signal, sys, time\nfor line in sys.stdin:\n {script}")


@pytest.mark.parametrize(
    ("script", "failure", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", TaskFailure.CRASH, "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", TaskFailure.KILLED, "killed"),
        ("signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(60)", TaskFailure.TIME, "a frame took longer"),
        ("time.sleep(60)", TaskFailure.TIME, "longer than 1 s"),
        ("sys.exit(3)", TaskFailure.CRASH, "status 3"),
        ("print('half', end='', flush=True); sys.exit(0)", TaskFailure.CRASH, "status 0"),
    ],
)
async def test_the_death_of_a_worker_is_an_outcome_that_says_how(
    script: str, failure: TaskFailure, reason: str, tmp_path: Path
) -> None:
    # A worker has to be started within this time too.
    seconds = 1 if "longer than 1 s" in reason else 60
    workers = WorkerPool(1, tasks=9, seconds=seconds, idle=60, command=faking(script))
    outcome = await workers.run(a_task(tmp_path, tmp_path / "none"))
    assert outcome.failure is failure
    assert reason in outcome.error
    assert workers.pids == []
    await workers.close()


async def test_a_worker_that_died_is_replaced_and_one_that_lives_is_used_again(tmp_path: Path) -> None:
    path = saved(image(), tmp_path)
    workers = WorkerPool(1, tasks=3, seconds=60, idle=60)
    assert (await workers.run(a_task(tmp_path, path))).failure is None
    (first,) = workers.pids
    assert (await workers.run(a_task(tmp_path, path))).failure is None
    assert workers.pids == [first]
    os.kill(first, signal.SIGKILL)
    while first in workers.pids and Path(f"/proc/{first}").exists():
        await asyncio.sleep(0.01)
    assert (await workers.run(a_task(tmp_path, path))).failure is None
    assert workers.pids != [first]
    await workers.close()


async def test_workers_are_replaced_after_their_tasks_and_end_when_idle(tmp_path: Path) -> None:
    path = saved(image(), tmp_path)
    workers = WorkerPool(1, tasks=1, seconds=60, idle=60)
    await workers.run(a_task(tmp_path, path))
    assert workers.pids == []
    idle = WorkerPool(1, tasks=9, seconds=60, idle=0.01)
    await idle.run(a_task(tmp_path, path))
    async with asyncio.timeout(20):
        while idle.pids:
            await asyncio.sleep(0.01)
    await workers.close()
    await idle.close()


async def test_a_task_that_needs_more_memory_than_allowed_is_refused_and_its_worker_ends(tmp_path: Path) -> None:
    path = saved(image(Rows=6000, Columns=6000, PixelData=bytes(72_000_000)), tmp_path)
    workers = WorkerPool(1, tasks=9, seconds=60, idle=60)
    outcome = await workers.run(a_task(tmp_path, path, memory=1 << 26))
    assert outcome.failure is TaskFailure.MEMORY
    assert workers.pids == []
    await workers.close()


async def test_a_request_that_killed_its_worker_is_not_tried_again_for_a_while(tmp_path: Path) -> None:
    bus, objects = MemoryBus(), FolderObjects(tmp_path / "objects")
    await bus.start()
    settings, command = ImagingSettings(imaging_workers=1), faking("sys.exit(3)")
    async with embedded(build_embedded, settings, bus=bus, objects=objects, worker_command=command):
        service = TranscodingService(bus, objects)
        await objects.put("a", b"poison")
        assert "status 3" in await service.refused("a", 6)
        assert "not tried again" in await service.refused("a", 6)
        assert "not tried again" not in await service.refused("a", 6, targets=(SYNTAX + "5",))
        await bus.close()


def test_poison_is_forgotten_in_time() -> None:
    now = [0.0]
    poison = PoisonCache(10, now=lambda: now[0])
    crashed = TaskOutcome(failure=TaskFailure.CRASH, error="it crashed")
    poison.add("a", "instance", crashed)
    now[0] = 9
    assert (poison.outcome("a", "instance"), poison.outcome("b", "instance")) == (crashed, None)
    now[0] = 10
    assert poison.outcome("a", "instance") is None


def test_an_instance_that_ended_workers_by_three_requests_is_left_alone_for_a_while() -> None:
    now = [0.0]
    poison = PoisonCache(10, now=lambda: now[0])
    crashed = TaskOutcome(failure=TaskFailure.CRASH, error="it crashed")
    for request in "ab":
        poison.add(request, "instance", crashed)
    assert poison.outcome("d", "instance") is None
    poison.add("c", "instance", crashed)
    assert (poison.outcome("d", "instance"), poison.outcome("d", "another")) == (crashed, None)
    now[0] = 10
    poison.add("a", "instance", crashed)
    assert poison.outcome("d", "instance") is None


async def test_transcoded_files_are_deleted_when_they_are_old_and_nothing_else_is(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    old, new, pack = new_key(), new_key(), "1/2/p.tar"
    for key in (old, new, pack):
        await objects.put(key, b"x")
    for key in (old, pack):
        os.utime(tmp_path / key, (1, 1))
    assert await delete_expired(objects, timedelta(hours=1)) == 1
    assert {info.key async for info in objects.list()} == {new, pack}


def test_a_service_that_transcodes_nothing_loads_no_codec_and_starts_no_process() -> None:
    script = "import sys, osteon_standalone.build, osteon_imaging.build; print('imagecodecs' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded == "False\n"
    assert WorkerPool(2, tasks=1, seconds=1, idle=1).pids == []
