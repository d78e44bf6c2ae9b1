"""Every service closes what it opened, in one order: doors, the bus, what handlers use."""

import asyncio
import inspect
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import osteon.bus.rabbit
import osteon.index.sql
import osteon.objects.s3
from osteon import service_stack as module
from osteon.bus.memory import MemoryBus
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.service_stack import service_stack
from osteon.settings import IndexSettings
from support.index.stored_packs import sqlite_url

PARTS = {
    "dispatcher": {"bus", "objects", "index"},
    "imaging": {"bus", "objects"},
    "indexer": {"bus", "objects", "index"},
    "ingress": {"bus", "objects"},
    "query": {"bus", "objects", "index"},
    "writer": {"bus", "objects"},
}
DOORS = {"ingress": {"dicom"}, "query": {"http"}}
FOLDERS = {"ingress": 1, "dispatcher": 2, "imaging": 2, "query": 2}
"""Folders of cached packs, and of files in flight."""


class RecordedParts:
    """Parts that note when they are opened and closed, in place of the real ones."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: set[str] = set()
        self.closed: list[str] = []
        self.doors: dict[str, int] = {}
        self.open_doors: set[str] = set()
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(self.temporary))
        self.folders_while_draining = 0
        world = self

        class Bus(MemoryBus):
            def __init__(self, url: str) -> None:
                assert url.startswith("amqp://")
                super().__init__()
                world.opened.add("bus")

            async def close(self, *, grace: float = 10.0) -> None:
                assert grace == 0.5
                world.open_doors = {name for name, port in world.doors.items() if listens(port)}
                world.folders_while_draining = len(list(world.temporary.iterdir()))
                world.closed.append("bus")
                await super().close(grace=grace)

        class Objects(FolderObjects):
            def close(self) -> None:
                world.closed.append("objects")

        class Index(SqlIndex):
            async def close(self) -> None:
                world.closed.append("index")
                await super().close()

        monkeypatch.setattr(osteon.bus.rabbit, "RabbitBus", Bus)
        self._put(monkeypatch, osteon.objects.s3, "S3Objects", "objects", lambda: Objects(folder / "objects"))
        self._put(monkeypatch, osteon.index.sql, "SqlIndex", "index", lambda: Index(sqlite_url(folder / "i.sqlite")))

    def _put(
        self, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, part: str, make: Callable[[], object]
    ) -> None:
        class FromSettings:
            @staticmethod
            def from_settings(_: object) -> object:
                self.opened.add(part)
                return make()

        monkeypatch.setattr(where, name, FromSettings)

    async def run(self, service: str) -> None:
        """Start a service with the usual settings, and stop it."""
        (kind,) = (
            value
            for name, value in vars(import_module(f"osteon_{service}.settings")).items()
            if name.endswith("ServiceSettings")
        )
        own = {
            "drain_seconds": 0.5,
            "dicom_port": 0,
            "http_port": 0,
            "spool_dir": self.folder / "spool",
            "imaging_min_idle_workers": 0,
        }
        settings = kind(**{name: value for name, value in own.items() if name in kind.model_fields})
        async with import_module(f"osteon_{service}.build").build(settings) as running:
            self.doors = dict(running.ports)
            assert all(listens(port) for port in self.doors.values())


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.parametrize("service", PARTS)
async def test_a_service_closes_all_parts_that_it_opened_behind_its_doors_and_the_bus(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = RecordedParts(tmp_path, monkeypatch)
    await world.run(service)
    assert world.opened == PARTS[service]
    assert sorted(world.closed) == sorted(world.opened)
    assert world.closed[0] == "bus"
    assert set(world.doors) == DOORS.get(service, set())
    assert not world.open_doors
    assert world.folders_while_draining == FOLDERS.get(service, 0)
    assert not list(world.temporary.iterdir())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_inputs_close_first_then_the_bus_then_resources_and_the_last_of_each_first() -> None:
    order = []
    async with service_stack() as stack:
        for name in ("first", "second"):
            stack.resources.callback(order.append, f"resource {name}")
            stack.bus.callback(order.append, f"bus {name}")
            stack.inputs.callback(order.append, f"input {name}")
    assert order == [f"{part} {name}" for part in ("input", "bus", "resource") for name in ("second", "first")]


async def test_what_is_left_closes_also_when_a_part_cannot_be_closed() -> None:
    order = []

    async def fail() -> None:
        raise RuntimeError("it hangs")

    with pytest.raises(RuntimeError, match="it hangs"):
        async with service_stack() as stack:
            stack.resources.callback(order.append, "resource")
            stack.bus.callback(order.append, "bus")
            stack.inputs.push_async_callback(fail)
    assert order == ["bus", "resource"]


async def test_an_index_that_is_still_waited_for_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = RecordedParts(tmp_path, monkeypatch)
    waiting = asyncio.Event()

    async def never(*_: object) -> None:
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "until_available", never)

    async def start() -> None:
        async with service_stack() as stack:
            await stack.open_index(IndexSettings())

    task = asyncio.create_task(start())
    await waiting.wait()
    task.cancel()
    await asyncio.wait({task})
    assert world.closed == ["index"]


@pytest.mark.parametrize("service", PARTS)
def test_every_composition_root_has_the_same_shape(service: str) -> None:
    build = import_module(f"osteon_{service}.build")
    assert list(inspect.signature(build.build).parameters) == ["settings"]
    settings, stack, *ports = inspect.signature(build.build_embedded).parameters.values()
    assert (settings.name, stack.name) == ("settings", "stack")
    assert {port.name for port in ports if port.default is port.empty} == PARTS[service]
    assert all(port.kind is port.KEYWORD_ONLY for port in ports)


@pytest.mark.slow
def test_no_composition_root_loads_the_libraries_of_the_real_parts_before_it_opens_them() -> None:
    imports = ", ".join(f"osteon_{service}.build" for service in PARTS)
    code = f"import sys, {imports}; print([n for n in ('sqlalchemy', 'minio', 'aio_pika') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
