"""The way of hostile data sets from C-STORE to the index: refused with a status, or kept, found and given back.

No instance that was acknowledged may keep its neighbours in the pack, or itself, from the index.
"""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon import metrics
from osteon.archive.resources import InstanceScope
from osteon.bus.memory import MemoryBus
from osteon.contracts.topology import COMPARISONS, INDEXER, writer_queue
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.identity import Identity
from osteon.dicom.peek import peek_identity
from osteon.dimse.handler import PresentationContext
from osteon.dimse.status import Status
from osteon.errors import Invalid
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.spool.spool import Spool, SpoolConfig
from osteon_indexer.comparison import VersionComparer
from osteon_indexer.handlers import compare_conflicts, index_packs
from osteon_ingress.handlers import publish_sealed_pack
from osteon_writer.handlers import store_sealed
from support.dicom.elements import explicit, implicit, item, sequence
from support.fuzz.acceptor import fuzz
from support.fuzz.data_sets import tails, values
from support.index.stored_packs import sqlite_url
from support.metric_values import value
from support.spool.instances import CT, EXPLICIT, association, data_set, store

CONTEXT = PresentationContext(1, CT, EXPLICIT)
NUL, SURROGATE = b"a\0b", b"\xed\xa0\x80\xed\xb0\x80"


@dataclass
class PipelineArchive:
    """Ingress's spool, writer and indexer on a memory bus."""

    spool: Spool
    index: SqlIndex
    objects: FolderObjects
    bus: MemoryBus
    sent: dict[str, bytes] = field(default_factory=dict)
    count: int = 0

    async def send(self, datasets: list[bytes]) -> list[int]:
        """Send data sets on one association, each under the UID of its place in them; return the statuses."""
        intake = self.spool.open_association(association())
        statuses = []
        for data in datasets:
            identity = named(data)
            sop = identity.sop_uid if identity else "1.2.3.4.5"
            outcome = await store(intake, sop, data, context=CONTEXT)
            if outcome.status is Status.SUCCESS:
                self.sent.setdefault(sop, data)
            assert (outcome.status is Status.SUCCESS) == (outcome.comment == "")
            statuses.append(int(outcome.status))
        await self.spool.close_association(intake)
        return statuses

    async def nothing_is_missing(self) -> None:
        """Fail unless what was acknowledged has one row, and its own bytes."""
        async with asyncio.timeout(60):
            while (await self.index.statistics()).instances < len(self.sent) or self.spool.outbox.paths():
                await self.spool.measure()
                await asyncio.sleep(0.02)
        found = {}
        async for place in self.index.locate(InstanceScope(sop_uids=tuple(self.sent))):
            file = await self.objects.get_range(place.key, place.offset, place.length)
            found[place.identity.sop_uid] = file
        for sop, data in self.sent.items():
            assert found[sop].endswith(data)
            assert hashlib.sha256(data).digest() in found[sop]
        assert len(found) == len(self.sent)


def named(data: bytes) -> Identity | None:
    try:
        return peek_identity(data, EXPLICIT, complete=True)
    except Invalid:
        return None


class PipelineRunner:
    """Makes an `PipelineArchive`, for a test that hypothesis runs many times on loops of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url

    async def __aenter__(self) -> PipelineArchive:
        self.bus, self.index = MemoryBus(), SqlIndex(self._url)
        objects = FolderObjects(self._folder / "objects")
        root = self._folder / "spool"
        self.executor = ThreadPoolExecutor(1)
        await self.bus.start()
        await self.index.start()
        config = SpoolConfig(root=root, sweep_every=0.05)
        self.spool = await Spool.open(config, partial(publish_sealed_pack, bus=self.bus, spool_id="s"))
        queue = writer_queue("s")
        await self.bus.declare(queue)
        ports = {"objects": objects, "bus": self.bus}
        write = partial(store_sealed, spool=root, executor=self.executor, reader=HeaderReader(), **ports)
        await self.bus.consume(queue, write)
        comparer = VersionComparer(objects, self.bus)
        compare = partial(compare_conflicts, index=self.index, comparer=comparer, **ports)
        await self.bus.consume(COMPARISONS, compare)
        index_batch = partial(index_packs, index=self.index, **ports)
        await self.bus.consume_batches(INDEXER, index_batch, size=50, linger=0.01)
        return PipelineArchive(self.spool, self.index, objects, self.bus)

    async def __aexit__(self, *_: object) -> None:
        await self.spool.close(2)
        await self.bus.close()
        await self.index.close()
        self.executor.shutdown()


POISON = {
    "NUL in the patient's identifiers": {"before": explicit(0x00100010, "PN", NUL) + explicit(0x00100020, "LO", NUL)},
    "lone surrogates": {
        "before": explicit(0x00080005, "CS", b"ISO_IR 192") + explicit(0x00100020, "LO", SURROGATE)
    },
    "NUL and surrogates in all that is held": {
        "behind": b"".join(
            explicit(tag, vr, value)
            for tag, vr, value in (
                (0x00200010, "SH", NUL), (0x00204000, "LT", SURROGATE), (0x00321033, "LO", NUL),
            )
        )
    },
    "Request Attributes Sequence that is text": {"behind": explicit(0x00400275, "LO", b"step")},
    "Request Attributes Sequence that is binary": {"behind": explicit(0x00400275, "OB", b"step")},
    "Request Attributes Sequence that is endless": {
        "behind": sequence(0x00400275, *(item(explicit(0x00400009, "SH", b"%04d" % n)) for n in range(3000)))
    },
    "held attributes that are sequences": {
        "before": sequence(0x00080020, item(explicit(0x00100010, "PN", b"x^y "))) + sequence(0x00080060, item()),
    },
    "numbers of 1 MB": {
        "behind": explicit(0x00200011, "UT", b"1" * (1 << 20)) + implicit(0x00200013, b"9" * (1 << 20))
    },
    "dates of nonsense": {"before": explicit(0x00080020, "DA", b"99999999") + explicit(0x00080030, "TM", b"9\0:zz")},
    "names that do not compress": {
        "before": explicit(0x00080005, "CS", b"ISO_IR 192")
        + explicit(0x00100010, "UT", "".join(chr(0x20000 + 7919 * n % 40_000) for n in range(16_000)).encode())
    },
    "a broken element behind the identifiers": {"behind": explicit(0x00280010, "US", b"\1", length=0xFFF0)},
    "a value before the identifiers that is too long": {"before": explicit(0x00080050, "SH", length=0xFFF0)},
    "an endless Patient ID before the identifiers": {"before": explicit(0x00100020, "UT", b"1" * 4096)},
    "a broken sequence before the identifiers": {"before": sequence(0x00081140, b"garbage!")},
    "a sequence that is deeper than its own end": {"before": sequence(0x00081140, item(b"", length=0x7FFFFFFF))},
    "file meta information in the data set": {"before": explicit(0x00020010, "UI", b"1.2.840.10008.1.2\0")},
    "64 digits": {"sop": "1." + "9" * 62, "series": "2." + "9" * 62, "study": "3." + "9" * 62},
    "dots": {"sop": "1......", "series": "1..2.", "study": "1.0.0.."},
}  # fmt: skip


def poisoned(name: str, number: int) -> bytes:
    how = dict(POISON[name])
    behind = how.pop("behind", b"")
    how.setdefault("sop", f"1.9.{number}")
    return data_set(**how) + behind


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "index.sqlite")
    found: str = request.getfixturevalue("index_url")
    return found


async def test_poison_is_kept_found_and_holds_up_no_other(tmp_path: Path, url: str) -> None:
    async with PipelineRunner(tmp_path, url) as archive:
        datasets = [poisoned(name, number) for number, name in enumerate(POISON)]
        good = [data_set(f"1.8.{n}") for n in range(3)]
        unread = value(metrics.UNREADABLE_HEADERS)
        assert set(await archive.send([good[0], *datasets, *good[1:]])) == {0}
        await archive.nothing_is_missing()
        assert value(metrics.UNREADABLE_HEADERS) == unread + 4


REFUSED = {
    "no UIDs": (b"", 0xA900),
    "path in Study Instance UID": (data_set("1.9.1", study="1.2/../../etc"), 0xA900),
    "path in Series Instance UID": (data_set("1.9.1", series="../../../x"), 0xA900),
    "NUL in Series Instance UID": (data_set("1.9.1", series="1.2\0.3"), 0xA900),
    "65 digits": (data_set("1.9.1", series="1." + "2" * 63), 0xA900),
    "other digits": (data_set("1.9.1").replace(b"1.2.3", "1.²".encode() + b" "), 0xA900),
    "another instance": (data_set("1.9.1"), 0xA900),
    "broken before the identifiers": (data_set("1.9.1", before=explicit(0x00080050, "OB", length=0xFFFFFFF0)), 0xC000),
    "an endless UID": (data_set("1.9.1", before=explicit(0x0020000D, "UT", b"1" * 4096)), 0xA900),
    "only zeros": (bytes(4096), 0xA900),
    "only ones": (b"\xff" * 4096, 0xC000),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_does_not_name_itself_is_refused_with_a_status_and_counted(
    tmp_path: Path, data: bytes, status: int
) -> None:
    async with PipelineRunner(tmp_path, sqlite_url(tmp_path / "index.sqlite")) as archive:
        before = refusals()
        intake = archive.spool.open_association(association())
        outcome = await store(intake, "1.9.7", data)
        assert (outcome.status, bool(outcome.comment), len(outcome.comment) <= 64) == (status, True, True)
        await archive.spool.close_association(intake)
        assert refusals() == before + 1
        assert await archive.send([data_set("1.8.1")]) == [0]
        await archive.nothing_is_missing()
        assert len(list((tmp_path / "objects").rglob("*.tar"))) == 1


def refusals() -> float:
    return sum(s.value for m in metrics.REFUSED_INSTANCES.collect() for s in m.samples if s.name.endswith("_total"))


@fuzz(8)
@given(
    hostile=st.lists(st.tuples(tails, tails, values, st.booleans()), min_size=5, max_size=12),
)
def test_random_data_sets_are_kept_or_refused_beside_good_ones(
    tmp_path_factory: pytest.TempPathFactory, hostile: list[tuple[bytes, bytes, bytes, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("way")

    async def run() -> None:
        async with PipelineRunner(folder, sqlite_url(folder / "index.sqlite")) as archive:
            datasets = [data_set("1.8.1")]
            for number, (before, behind, text, early) in enumerate(hostile):
                named = explicit(0x00080005, "CS", text[:60]) + explicit(0x00100010, "PN", text[:4000])
                whole = data_set(f"1.9.{number}", before=(before if early else b"") + named) + behind
                datasets += [whole, data_set(f"1.8.{number + 2}")]
            statuses = await archive.send(datasets)
            assert set(statuses) <= {0, 0xA900, 0xC000}
            assert not any(statuses[::2])
            await archive.nothing_is_missing()

    asyncio.run(run())
