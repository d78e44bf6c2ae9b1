"""The way of a pack from the spool to its rows, broken off at any single call, and any call failing once.

Every third call, or every single one with more effort (`OSTEON_TEST_FUZZ`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import osteon_indexer.build
import osteon_writer.build
from osteon.archive.resources import InstanceScope
from osteon.bus.memory import MemoryBus
from osteon.contracts.topology import writer_queue
from osteon.dicom.header.reader import HeaderReader
from osteon.dimse.status import Status
from osteon.errors import Unavailable
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.settings import IndexerSettings
from osteon.spool.spool import Spool, SpoolConfig
from osteon_ingress.handlers import publish_sealed_pack
from osteon_writer.handlers import store_sealed
from osteon_writer.settings import WriterBaseSettings
from support.fuzz.case_counts import THIN
from support.index.stored_packs import sqlite_url
from support.services.embedded import embedded
from support.spool.instances import association, contents, data_set, store

SENT = {f"1.9.{n}": data_set(f"1.9.{n}", series=f"1.2.{n % 2}") for n in range(4)}
OTHER = data_set("1.9.0", series="1.2.0", pixels=b"other bytes!")
STEPS = ("publish", "put_file", "put", "upsert", "delete")


class Fate:
    """Something happens at call number `at`, counted before and after each step; at no call when `at` is 0."""

    def __init__(self, at: int, what: Callable[[], Any]) -> None:
        self.struck = asyncio.Event()
        self.running: list[asyncio.Future[Any]] = []
        self._left = at
        self._what = what

    async def call(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.struck.set()
            await self._what()


class Fated:
    """A port whose steps are in the hands of fate."""

    def __init__(self, port: Any, fate: Fate) -> None:
        self._port = port
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name not in STEPS:
            return method

        async def step(*args: Any, **kwargs: Any) -> Any:
            await self._fate.call()
            running = asyncio.ensure_future(method(*args, **kwargs))
            self._fate.running.append(running)
            result = await asyncio.shield(running)
            await self._fate.call()
            return result

        return step


async def death() -> None:
    """Nothing goes on from here."""
    await asyncio.Event().wait()


async def outage() -> None:
    raise Unavailable("a part is down")


async def fault() -> None:
    raise RuntimeError("nobody thought of this")


@asynccontextmanager
async def archive(data: Path, fate: Fate, *, one_process: bool = True) -> AsyncIterator[tuple[Spool, SqlIndex]]:
    """Everything between the DICOM door and the index, as in standalone, or with the writer that has a real broker."""
    bus = MemoryBus(retry_delays_ms=(1,))
    await bus.start()
    file = data / "index.sqlite"
    index = SqlIndex(f"sqlite+aiosqlite:///{file}" if file.exists() else sqlite_url(file))
    await index.start()
    fated_bus, objects, fated_index = (Fated(port, fate) for port in (bus, FolderObjects(data / "objects"), index))
    indexer = embedded(
        osteon_indexer.build.build_embedded,
        IndexerSettings(index_batch_wait_seconds=0.001, sweep_hours=0 if one_process else 1, sweep_min_age_seconds=0),
        bus=fated_bus, objects=objects, index=fated_index,
    )  # fmt: skip
    if one_process:
        writer = embedded(
            osteon_writer.build.build_embedded, WriterBaseSettings(spool_dir=data / "spool"),
            bus=fated_bus, objects=objects, keep_until_indexed=True,
        )  # fmt: skip
    else:
        writer = real_writer(data / "spool", fated_bus, objects)
    config = SpoolConfig(root=data / "spool", sweep_every=0.01, adopt_every=0.01, republish_after=0.5)
    async with indexer, writer:
        spool = await Spool.open(config, partial(publish_sealed_pack, bus=fated_bus, spool_id="spool"))
        yield spool, index
        await bus.close(grace=0)
        await spool.close(0)
        await asyncio.gather(*fate.running, return_exceptions=True)
    await index.close()


@asynccontextmanager
async def real_writer(spool: Path, bus: Any, objects: Any) -> AsyncIterator[None]:
    with ThreadPoolExecutor(1) as executor:
        store = partial(store_sealed, spool=spool, objects=objects, bus=bus, executor=executor, reader=HeaderReader())
        await bus.consume(writer_queue("spool"), store, concurrency=2)
        yield


async def send(spool: Spool) -> None:
    """Send everything, then all again with other bytes for one: two packs, a redundant one, one with a conflict."""
    for again in (SENT, {**SENT, "1.9.0": OTHER}):
        intake = spool.open_association(association())
        for sop, data in again.items():
            assert (await store(intake, sop, data)).status is Status.SUCCESS
        await spool.close_association(intake)


async def until_taken(spool_root: Path) -> None:
    while waiting(spool_root):
        await asyncio.sleep(0.005)


def waiting(spool_root: Path) -> bool:
    try:
        return any(spool_root.glob("*/*.tar*"))
    except FileNotFoundError:  # a folder that was empty is gone between listing and looking
        return True


async def check(data: Path, index: SqlIndex, *, leftovers: bool = False) -> None:
    """Each instance has one row and its bytes; the other bytes are kept aside; nothing else stays stored.

    A redundant pack that a slow machine had stored twice is deleted twice, the second time a little later. With
    `leftovers` one may lie there whose last message was lost.
    """
    places = [place async for place in index.locate(InstanceScope())]
    (conflict,) = await index.conflicts()
    packs = {place.key: contents(data / "objects" / place.key) for place in (*places, conflict.aside.location)}
    served = {place.identity.sop_uid: packs[place.key][place.identity.sop_uid] for place in places}
    assert len(places) == len(SENT)
    both = [served.pop("1.9.0"), packs[conflict.aside.location.key]["1.9.0"]]
    assert served == {sop: sent for sop, sent in SENT.items() if sop != "1.9.0"}
    assert sorted(both) == sorted([SENT["1.9.0"], OTHER])
    while not leftovers and {path.name for path in data.glob("objects/*/*/*.tar")} != {Path(key).name for key in packs}:
        await asyncio.sleep(0.005)


async def until_found(index: SqlIndex) -> None:
    while (found := await index.statistics()).instances < len(SENT) or not found.conflicts:
        await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_when_the_broker_forgets_everything_with_each_call_spool_and_sweep_find_all_instances(
    tmp_path: Path,
) -> None:
    at, struck = 1 - THIN, True
    while struck:
        at += THIN
        data, fate = tmp_path / str(at), Fate(at, death)
        async with archive(data, fate, one_process=False) as (spool, index), asyncio.timeout(20):
            await send(spool)
            done = asyncio.create_task(until_found(index))
            died = asyncio.create_task(fate.struck.wait())
            await asyncio.wait([done, died], return_when=asyncio.FIRST_COMPLETED)
            done.cancel()
            died.cancel()
        struck = fate.struck.is_set()
        async with archive(data, Fate(0, death), one_process=False) as (_, index), asyncio.timeout(20):
            await until_found(index)
            await until_taken(data / "spool")
            await check(data, index, leftovers=True)
    assert at > 30


@pytest.mark.slow
@pytest.mark.parametrize("what", [death, outage, fault])
async def test_whatever_call_is_the_last_or_fails_all_instances_have_one_row_and_their_bytes(
    tmp_path: Path, what: Callable[[], Any]
) -> None:
    at, struck = 1 - THIN, True
    while struck:
        at += THIN
        data, fate = tmp_path / str(at), Fate(at, what)
        async with archive(data, fate) as (spool, _), asyncio.timeout(20):
            await send(spool)
            taken = asyncio.create_task(until_taken(data / "spool"))
            died = asyncio.create_task(fate.struck.wait() if what is death else asyncio.Event().wait())
            await asyncio.wait([taken, died], return_when=asyncio.FIRST_COMPLETED)
            taken.cancel()
            died.cancel()
        struck = fate.struck.is_set()
        async with archive(data, Fate(0, death)) as (_, index), asyncio.timeout(20):
            await until_taken(data / "spool")
            await check(data, index)
    assert at > 30
