"""Does the index slow down as it grows? Studies by the thousand, questions by the code that answers C-FIND and QIDO-RS.

    python tests/load/bench_index.py --studies 1000000 --instances 10000000 --docs

PostgreSQL is filled by SQL (`support.index.invented_archive`), SQLite by the index's own code, so it stays smaller. At
10,000, 100,000, ... studies it prints the latency of questions, asked one at a time, and what indexing the next packs
costs. PostgreSQL is a private one; `--postgres URL` takes another one, to throw away.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from figures import machine, replace_section  # noqa: E402  (the folders above are not installed)

from osteon.contracts.find import FindPageRequest  # noqa: E402
from osteon.dicom.identity import public_id  # noqa: E402
from osteon.dicom.models import Level  # noqa: E402
from osteon.dicom.query import LAST_UPDATE, Matching, MatchingKey, Order, Range, Search, Single, Wildcard  # noqa: E402
from osteon.index.sql import SqlIndex  # noqa: E402
from osteon.objects.folder import FolderObjects  # noqa: E402
from osteon_local.postgres import Postgres  # noqa: E402
from osteon_query.packs.sidecars import Sidecars  # noqa: E402
from osteon_query.search.cfind import handle_find  # noqa: E402
from support.index.invented_archive import (  # noqa: E402
    RARE,
    SERIES_A_STUDY,
    STUDIES_A_PATIENT,
    accession_of,
    day_of,
    fill,
    name_of,
    one_pack,
    uid,
)
from support.index.stored_packs import EXPLICIT  # noqa: E402
from support.load.process_usage import cpu_seconds  # noqa: E402

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PACKS, INDEXED = 50, 1000
"""Packs in a transaction, and packs that are indexed at each size to see what that costs."""
LATER = 10_000_000
"""Number of a series that no size gets to: what is indexed in between is numbered from there on."""
ASKED, LIST, EXACT = 40, 50, 10_000
"""Times that a question is asked, rows of a list, and how far matches are counted."""
SORTED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber", "StudyID",
          "StudyDescription", "ReferringPhysicianName", "InstitutionName", LAST_UPDATE)  # fmt: skip
_STUDY = {"StudyInstanceUID": "", "PatientID": "", "StudyDescription": "", "NumberOfStudyRelatedInstances": ""}


class Questions:
    """What is asked of an archive of so many studies, each time about something else; `number` counts from 0."""

    def __init__(self, index: SqlIndex, studies: int, folder: Path) -> None:
        self._index = index
        self._studies = studies
        self._sidecars = Sidecars(FolderObjects(folder), memory=1 << 20)

    @property
    def all(self) -> dict[str, Callable[[int], Awaitable[int]]]:
        """Each returns how many matches it had."""
        recent = (_key("StudyDate", Range(day_of(self._studies * 99 // 100), None)),)
        of_modality = _key("ModalitiesInStudy", Single("CT"))
        return {
            "C-FIND by accession number": lambda n: self._studies_of(AccessionNumber=accession_of(self._study(n))),
            "C-FIND by Patient ID": lambda n: self._studies_of(PatientID=f"PAT{self._patient(n):07d}"),
            "C-FIND by beginning of a name, a few match": lambda n: self._studies_of(PatientName=self._family(n)),
            "C-FIND by name, modality and dates": self._by_all,
            "C-FIND series of a study": self._series,
            "C-FIND instances of a series": self._instances,
            "QIDO by beginning of a name, an eighth matches": lambda n: self._page(_named("meyer*")),
            "QIDO by middle of a name": lambda n: self._page(_named("*anna*")),
            "QIDO by modality": lambda n: self._page(of_modality),
            "QIDO by a rare modality": lambda n: self._page(_key("ModalitiesInStudy", Single(RARE))),
            "QIDO of an old day": lambda n: self._page(_key("StudyDate", Single(day_of(self._study(n))))),
            "QIDO since a recent day, with a modality": lambda n: self._page(*recent, of_modality),
            "QIDO, no keys": lambda n: self._page(offset=n % 5),
            "QIDO, no keys, from row 100,000 on": lambda n: self._page(offset=min(100_000, self._studies // 2)),
            "list: most recently received": lambda n: self._sorted(LAST_UPDATE),
            "list: most recent Study Date, with a modality": lambda n: self._sorted("StudyDate", of_modality),
            "list: by any column, upwards or downwards": self._by_column,
            "count of all studies": lambda n: self._count(None),
            f"count of a modality, up to {EXACT:,}": lambda n: self._count(EXACT, of_modality),
            "changes, page of 100": self._changes,
            "lookup of an accession number": self._lookup,
            "a study by its identifier": self._get,
        }  # fmt: skip

    def _study(self, number: int) -> int:
        return number * 7919 % self._studies

    def _patient(self, number: int) -> int:
        return self._study(number) // STUDIES_A_PATIENT

    def _family(self, number: int) -> str:
        return name_of(self._patient(number)).partition("^")[0] + "*"

    async def _studies_of(self, **keys: str) -> int:
        return await self._find("STUDY", **_STUDY | keys)

    async def _by_column(self, number: int) -> int:
        return await self._sorted(SORTED[number % len(SORTED)], descending=number % 2 == 0)

    async def _by_all(self, number: int) -> int:
        dates = f"{day_of(0)}-{day_of(self._studies)}"
        return await self._find("STUDY", PatientName=f"{self._family(number)[:6]}*", ModalitiesInStudy="CT",
                                StudyDate=dates, **_STUDY)  # fmt: skip

    async def _series(self, number: int) -> int:
        study = uid(1, self._study(number))
        return await self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="", SeriesNumber="",
                                NumberOfSeriesRelatedInstances="")  # fmt: skip

    async def _instances(self, number: int) -> int:
        study = self._study(number)
        return await self._find("IMAGE", StudyInstanceUID=uid(1, study), SOPInstanceUID="",
                                SeriesInstanceUID=uid(2, study * SERIES_A_STUDY), InstanceNumber="")  # fmt: skip

    async def _find(self, level: str, **keys: str) -> int:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        encoded = DicomBytesIO()
        encoded.is_little_endian, encoded.is_implicit_VR = True, False
        write_dataset(encoded, identifier)
        request = FindPageRequest(
            correlation_id="bench", sop_class_uid=STUDY_ROOT, transfer_syntax_uid=EXPLICIT,
            identifier=encoded.getvalue(), called_aet="OSTEON",
        )  # fmt: skip
        return len((await handle_find(request, self._index, self._sidecars, page=LIST)).identifiers)

    async def _page(self, *conditions: MatchingKey, offset: int = 0) -> int:
        search = Search(Level.STUDY, conditions, case_sensitive=True, one_per_uid=True, limit=LIST, offset=offset)
        return len((await self._index.search(search)).matches)

    async def _sorted(self, keyword: str, *conditions: MatchingKey, descending: bool = True) -> int:
        search = Search(Level.STUDY, conditions, order=(Order(keyword, descending),), limit=LIST)
        return len((await self._index.search(search)).matches)

    async def _count(self, at_most: int | None, *conditions: MatchingKey) -> int:
        return await self._index.count(Search(Level.STUDY, conditions), at_most=at_most)

    async def _changes(self, number: int) -> int:
        return len((await self._index.changes(since=self._study(number), limit=100)).changes)

    async def _lookup(self, number: int) -> int:
        return len(await self._index.lookup(accession_of(self._study(number))))

    async def _get(self, number: int) -> int:
        study = self._study(number)
        return bool(await self._index.get(Level.STUDY, public_id(f"PAT{self._patient(number):07d}", uid(1, study))))


def _named(pattern: str) -> MatchingKey:
    return _key("PatientName", Wildcard(pattern))


def _key(keyword: str, matching: Matching) -> MatchingKey:
    return MatchingKey((keyword,), matching)


async def indexed(index: SqlIndex, packs: range, n: int, server: int) -> tuple[float, float]:
    """Index packs of `n` instances; returns instances a second, and CPU milliseconds of one, server included."""
    wall = cpu = 0.0
    for first in range(packs.start, packs.stop, PACKS):
        batch = [one_pack(number, n) for number in range(first, min(first + PACKS, packs.stop))]
        started, used = time.perf_counter(), _used(server)
        await index.upsert(batch)
        wall += time.perf_counter() - started
        cpu += _used(server) - used
    return len(packs) * n / wall, cpu / (len(packs) * n) * 1e3


def _used(server: int) -> float:
    return time.process_time() + (cpu_seconds(server) if server else 0.0)


@dataclass(frozen=True)
class IndexMeasurement:
    """What was measured at a size; latencies in milliseconds."""

    database: str
    studies: int
    rate: float
    cpu: float
    bytes: float
    latencies: dict[str, tuple[float, float, float]]


async def ask(question: Callable[[int], Awaitable[int]], name: str, server: int) -> tuple[float, float, float]:
    """Return median, 95th percentile and mean CPU in milliseconds, the server's included, after a few that warm up."""
    taken, used = [], 0.0
    for number in range(ASKED + 3):
        used = _used(server) if number == 3 else used
        started = time.perf_counter()
        found = await question(number)
        taken.append((time.perf_counter() - started) * 1e3)
        assert found, f"{name}: nothing found"
    cpu = (_used(server) - used) / ASKED * 1e3
    taken = sorted(taken[3:])
    return taken[len(taken) // 2], taken[len(taken) * 95 // 100], cpu


async def size_of(url: str) -> int:
    """Return the bytes that a database takes."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            size = "SELECT pg_database_size(current_database())"
            if engine.dialect.name == "sqlite":
                size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
            return int((await connection.execute(text(size))).scalar_one())
    finally:
        await engine.dispose()


async def measure(
    database: str, url: str, studies: int, n: int, folder: Path, server: int = 0
) -> list[IndexMeasurement]:
    """Fill one database, with series of `n` instances, and ask it at each size."""
    index = SqlIndex(url)
    await index.start()
    there, lines = 0, []
    empty = await size_of(url)
    for size in sorted({s for s in (10_000, 100_000, 1_000_000) if s < studies} | {studies}):
        if database == "PostgreSQL":
            await asyncio.to_thread(fill, url, there, size, n)
        else:
            await indexed(index, range(there * SERIES_A_STUDY, size * SERIES_A_STUDY), n, server)
        bytes_each = (await size_of(url) - empty) / (size * SERIES_A_STUDY * n)
        questions = Questions(index, size, folder)
        latencies = {name: await ask(question, name, server) for name, question in questions.all.items()}
        there = size
        rate, cpu = await indexed(index, range(LATER + size, LATER + size + INDEXED), n, server)
        lines.append(IndexMeasurement(database, size, rate, cpu, bytes_each, latencies))
        print(f"{database} {size:,} studies: {rate:.0f} instances/s, {cpu:.2f} ms of CPU each", flush=True)
        for name, (p50, p95, used) in latencies.items():
            print(f"  {name}: p50 {p50:.1f}, p95 {p95:.1f}, CPU {used:.1f} ms", flush=True)
    await index.close()
    return lines


def table(lines: Sequence[IndexMeasurement]) -> str:
    """Return everything as Markdown: a column for each database and size."""
    head = "| studies | " + " | ".join(f"{line.database}, {line.studies:,}" for line in lines) + " |"
    rows = [head, "|---|" + "--:|" * len(lines)]
    for name in lines[0].latencies:
        cells = ("{:.1f} / {:.1f} / {:.1f}".format(*line.latencies[name]) for line in lines)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    rows.append("| indexing, instances/s | " + " | ".join(f"{line.rate:.0f}" for line in lines) + " |")
    rows.append("| indexing, CPU ms an instance | " + " | ".join(f"{line.cpu:.2f}" for line in lines) + " |")
    rows.append("| bytes an instance in the database | " + " | ".join(f"{line.bytes:.0f}" for line in lines) + " |")
    return "\n".join(rows)


def main() -> None:
    """Fill and ask each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--instances", type=int, default=100_000, help="in all studies together")
    parser.add_argument("--sqlite-studies", type=int, default=10_000, help="how far SQLite goes; 0: not at all")
    parser.add_argument("--postgres", default="", help="SQLAlchemy URL of an empty database, instead of a private one")
    parser.add_argument("--docs", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    n = max(options.instances // options.studies // SERIES_A_STUDY, 1)
    with tempfile.TemporaryDirectory(prefix="osteon-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        if options.postgres:
            lines = asyncio.run(measure("PostgreSQL", options.postgres, options.studies, n, folder))
        else:
            with Postgres(folder / "postgres") as server:
                lines = asyncio.run(measure("PostgreSQL", server.url, options.studies, n, folder, server.process.pid))
        if smaller := min(options.sqlite_studies, options.studies):
            url = f"sqlite+aiosqlite:///{folder / 'index.sqlite'}"
            lines += asyncio.run(measure("SQLite", url, smaller, n, folder))
    made = (
        f"{machine()}\n`python tests/load/bench_index.py {' '.join(sys.argv[1:])}`: studies of {SERIES_A_STUDY} series"
        f" of {n} instances, packs of a series, {PACKS} in a transaction; milliseconds are the median and the 95th"
        f" percentile of {ASKED}, and the mean of the CPU that service and database took. Pages have {LIST}"
        f" rows.\n\n{table(lines)}"
    )
    print(f"\n{made}")
    if options.docs:
        replace_section("index", made)


if __name__ == "__main__":
    main()
