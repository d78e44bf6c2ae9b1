"""Composition root of `standalone`: every service, on an in-memory bus, a folder and SQLite."""

import fcntl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import osteon_dispatcher.build
import osteon_imaging.build
import osteon_indexer.build
import osteon_ingress.build
import osteon_query.build
import osteon_writer.build
from osteon.bus.memory import MemoryBus
from osteon.contracts.topology import ROUTER
from osteon.errors import OsteonError, Unavailable
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.runtime import Running
from osteon_standalone.settings import StandaloneServiceSettings


class DataUnusable(OsteonError):
    """Another process works in this data folder, or it can not be written."""


@asynccontextmanager
async def build(settings: StandaloneServiceSettings) -> AsyncIterator[Running]:
    """Start everything. On leaving, doors close first, then the bus drains, then what its handlers use goes."""
    data = settings.data.resolve()
    settings = settings.model_copy(update={"spool": data / "spool"})
    async with AsyncExitStack() as stack:
        stack.enter_context(held(data))
        index = SqlIndex(f"sqlite+aiosqlite:///{data / 'index.sqlite'}")
        await index.start()
        stack.push_async_callback(index.close)
        objects = FolderObjects(data / "objects")
        bus = MemoryBus()
        await bus.start()
        await bus.declare(ROUTER)  # before the indexer publishes what a dispatcher will route
        await stack.enter_async_context(
            osteon_indexer.build.build_embedded(settings, bus=bus, objects=objects, index=index)
        )
        await stack.enter_async_context(
            osteon_writer.build.build_embedded(settings.spool, settings.spool_id, bus=bus, objects=objects)
        )
        await stack.enter_async_context(osteon_imaging.build.build_embedded(settings, bus=bus, objects=objects))
        doors: dict[str, int] = {}
        await stack.enter_async_context(
            osteon_dispatcher.build.build_embedded(
                settings, bus=bus, objects=objects, index=index, door_at=partial(_door_at, settings.bind, doors)
            )
        )
        stack.push_async_callback(bus.close, grace=settings.drain_seconds)
        query = await stack.enter_async_context(
            osteon_query.build.build(settings, bus=bus, index=index, objects=objects)
        )
        ingress = await stack.enter_async_context(osteon_ingress.build.build(settings, bus=bus, objects=objects))
        doors |= ingress.ports
        yield Running(checks={**query.checks, **ingress.checks}, ports={**query.ports, **ingress.ports})


def _door_at(bind: str, doors: Mapping[str, int]) -> str:
    """Return where the own `ingress` takes associations, whatever free port it got; raises `Unavailable`."""
    if not doors:
        raise Unavailable("the own door is not open yet")
    host = "127.0.0.1" if bind in ("0.0.0.0", "::") else bind  # noqa: S104 (compared, not bound)
    return f"{host}:{doors['dicom'] if 'dicom' in doors else doors['dicom_tls']}"


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the data folder, which is made when absent; raises `DataUnusable`. The lock ends with the process."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise DataUnusable(f"can not write in {data} ({error.strerror}); set OSTEON_DATA to another folder") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataUnusable(
                f"another Osteon works in {data}; stop it, or set OSTEON_DATA to another folder"
            ) from None
        yield
