"""Composition root of `standalone`: every service, on an in-memory bus, a folder and SQLite."""

import fcntl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from osteon.bus.memory import MemoryBus
from osteon.errors import OsteonError, Unavailable
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.private_files import make_private_folder
from osteon.runtime import Running
from osteon.service_stack import service_stack
from osteon_dispatcher import build as dispatcher
from osteon_imaging import build as imaging
from osteon_indexer import build as indexer
from osteon_ingress import build as ingress
from osteon_query import build as query
from osteon_standalone.settings import StandaloneServiceSettings
from osteon_writer import build as writer


class DataUnusable(OsteonError):
    """Another process works in this data folder, or it cannot be written."""


@asynccontextmanager
async def build(settings: StandaloneServiceSettings) -> AsyncIterator[Running]:
    """Start every service on the same ports."""
    data = settings.data.resolve()
    settings = settings.model_copy(update={"spool_dir": data / "spool"})
    async with service_stack() as stack:
        stack.resources.enter_context(held(data))
        index = SqlIndex(f"sqlite+aiosqlite:///{data / 'index.sqlite'}", newest=settings.serves_newest)
        stack.resources.push_async_callback(index.close)
        await index.start()
        objects = FolderObjects(data / "objects")
        bus = MemoryBus()
        stack.drain(bus, settings.drain_seconds)
        await bus.start()
        ports: dict[str, int] = {}
        await indexer.build_embedded(settings, stack, bus=bus, objects=objects, index=index)
        await writer.build_embedded(settings, stack, bus=bus, objects=objects, keep_until_indexed=True)
        await imaging.build_embedded(settings, stack, bus=bus, objects=objects)
        own_address = partial(_own_address, settings.bind, ports)
        await dispatcher.build_embedded(settings, stack, bus=bus, objects=objects, index=index, own_address=own_address)
        dicom = await ingress.build_embedded(settings, stack, bus=bus, objects=objects)
        ports |= dicom.ports
        # Last: when `/readyz` answers, both doors are open.
        http = await query.build_embedded(settings, stack, bus=bus, objects=objects, index=index)
        yield Running(checks={**http.checks, **dicom.checks}, ports={**http.ports, **dicom.ports})


def _own_address(bind: str, ports: Mapping[str, int]) -> str:
    """Return the address at which this process accepts associations; raises `Unavailable`."""
    if not ports:
        raise Unavailable("the DICOM listener has not started yet")
    host = "127.0.0.1" if bind in ("0.0.0.0", "::") else bind  # noqa: S104 (compared, not bound)
    return f"{host}:{ports['dicom'] if 'dicom' in ports else ports['dicom_tls']}"


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the data folder, which is made when absent; raises `DataUnusable`. The lock ends with the process."""
    try:
        make_private_folder(data)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise DataUnusable(f"cannot write to {data} ({error.strerror}); set OSTEON_DATA to another folder") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataUnusable(
                f"another Osteon works in {data}; stop it, or set OSTEON_DATA to another folder"
            ) from None
        yield
