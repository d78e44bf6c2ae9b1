"""The index while its PostgreSQL server dies, freezes and comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.errors import DatabaseUnavailable
from osteon.index.sql import SqlIndex
from support.index.stored_packs import pack, slices, study

pytestmark = pytest.mark.slow


@pytest.fixture
async def index(own_postgres) -> AsyncIterator[SqlIndex]:
    opened = SqlIndex(own_postgres.create_database(), pool=3)
    await opened.start()
    yield opened
    await opened.close()


async def patiently(call):
    """Repeat what the index says is unavailable, as those who read from a queue do."""
    while True:
        try:
            return await call()
        except DatabaseUnavailable:
            await asyncio.sleep(0.2)


async def test_a_server_that_was_killed_is_unavailable_and_used_again_when_it_is_back(own_postgres, index):
    await index.upsert([study("P1", "1.2.1", 3)])
    await asyncio.to_thread(own_postgres.kill)
    for call in (index.check, index.statistics, lambda: index.upsert([study("P2", "1.2.2")])):
        with pytest.raises(DatabaseUnavailable):
            await call()
    await asyncio.to_thread(own_postgres.start)
    await index.check()
    assert (await index.statistics()).instances == 3


async def test_batches_during_a_kill_are_whole_or_not_there_and_can_be_repeated(own_postgres, index):
    packs = [pack(*slices(40, "P1", "1.2.1", f"1.2.1.{n}")) for n in range(30)]
    batches = [packs[i : i + 3] for i in range(0, 30, 3)]

    async def work() -> None:
        for batch in batches:
            await patiently(lambda batch=batch: index.upsert(batch))

    working = asyncio.create_task(work())
    for _ in range(2):
        await asyncio.sleep(0.15)
        await asyncio.to_thread(own_postgres.kill)
        await asyncio.to_thread(own_postgres.start)
    await working
    outcomes = await index.upsert(packs)
    assert {outcome.stored for outcome in outcomes} == {40}
    assert (await index.statistics()).instances == 1200
    assert await index.count(Search(Level.IMAGE)) == 1200
    (patient,) = (await index.search(Search(Level.PATIENT))).matches
    assert (patient.patient.series, patient.patient.instances) == (30, 1200)


async def test_a_frozen_server_is_unavailable_and_used_again_when_it_goes_on(own_postgres, index):
    await index.check()
    await asyncio.to_thread(own_postgres.pause)
    try:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="did not answer"):
                await index.check()
    finally:
        await asyncio.to_thread(own_postgres.resume)
    await patiently(index.check)


async def test_a_database_without_the_schema_is_unavailable(own_postgres):
    index = SqlIndex(own_postgres.create_database())
    with pytest.raises(DatabaseUnavailable, match="totals"):
        await index.check()
    await index.close()
