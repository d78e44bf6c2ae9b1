"""Does the index slow down as it grows? Rows by the real upsert, questions by the code that answers C-FIND and QIDO-RS.

    python tests/load/bench_index.py --instances 1000000 --docs

Each database gets packs of `--slices` instances of one series, five series a study, dates that rise as in life. At
10,000, 100,000, ... instances it prints how fast the last ones went in, and the latency of questions, asked one at a
time. PostgreSQL is a private one; `--postgres URL` takes another one, to throw away.
"""

import argparse
import asyncio
import hashlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from figures import machine, replace_section  # noqa: E402  (the folders above are not installed)

from osteon.archive.pack_records import StoredPack  # noqa: E402
from osteon.contracts.find import FindPageRequest  # noqa: E402
from osteon.dicom.models import Level  # noqa: E402
from osteon.dicom.query import Search  # noqa: E402
from osteon.index.sql import SqlIndex  # noqa: E402
from osteon.objects.folder import FolderObjects  # noqa: E402
from osteon_local.postgres import Postgres  # noqa: E402
from osteon_query.packs.sidecars import Sidecars  # noqa: E402
from osteon_query.search.cfind import handle_find  # noqa: E402
from support.index.stored_packs import EXPLICIT, pack, slices  # noqa: E402
from support.load.process_usage import cpu_seconds  # noqa: E402

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
FAMILY = ("Müller", "Meyer", "Nguyen", "Kowalski", "Papadopoulos", "Yamada", "Silva", "O'Brien")
GIVEN = ("Anna", "Jörg", "Minh", "Zofia", "Eleni", "Tarō", "João", "Seán")
SERIES_A_STUDY, STUDIES_A_PATIENT, STUDIES_A_DAY = 5, 2, 20
BATCH = 4000
"""Instances in a transaction, at most 50 packs: what an indexer under load gathers."""
ASKED = 40
FIRST_DAY = date(2015, 1, 1)


def uid(*parts: int) -> str:
    """Return a UID that is long enough for `.200` behind it to make the usual 64 characters."""
    digits = int(hashlib.sha256(repr(parts).encode()).hexdigest(), 16) % 10**32
    return f"1.2.826.0.1.3680043.8.498.1{digits:032d}"


def day_of(study: int) -> str:
    """Return the Study Date."""
    return (FIRST_DAY + timedelta(days=study // STUDIES_A_DAY)).strftime("%Y%m%d")


def name_of(patient: int) -> str:
    """Return a name that few patients share, of words that many share."""
    return f"{FAMILY[patient % 8]}{chr(97 + patient // 64 % 26)}{patient // 1664}^{GIVEN[patient // 8 % 8]}"


def one_pack(number: int, n: int) -> StoredPack:
    """Make a pack: a series of `n` instances."""
    study = number // SERIES_A_STUDY
    patient = study // STUDIES_A_PATIENT
    attributes = {
        "PatientName": name_of(patient), "PatientSex": "O", "StudyTime": "101530.123",
        "PatientBirthDate": "19700101", "StudyDate": day_of(study),
        "AccessionNumber": f"ACC{study:08d}", "StudyDescription": "CT abdomen with contrast", "StudyID": str(study),
        "ReferringPhysicianName": "House^Gregory", "InstitutionName": "General Hospital", "Modality": "CT",
        "SeriesNumber": str(number % 5 + 1), "SeriesDescription": "Axial 1.0 soft tissue", "Manufacturer": "ACME",
        "BodyPartExamined": "ABDOMEN", "ProtocolName": "Abdomen", "StationName": "CT1", "OperatorsName": "Doe^Jane",
    }  # fmt: skip
    return pack(*slices(n, f"PAT{patient:07d}", uid(1, study), uid(2, number), **attributes), pack_id=f"b{number:012d}")


@dataclass
class Growing:
    """An index that is filled step by step."""

    index: SqlIndex
    slices: int
    server: int = 0
    """Process id of the database server, when it is ours."""
    packs: int = 0

    @property
    def studies(self) -> int:
        """How many there are."""
        return self.packs // SERIES_A_STUDY

    async def grow(self, instances: int) -> tuple[float, float]:
        """Fill up; returns instances a second of the last half, and CPU milliseconds of one, server included."""
        target = instances // self.slices
        each = max(min(50, BATCH // self.slices), 1)
        half = (self.packs + target) // 2
        wall, cpu, counted = 0.0, 0.0, 0
        while self.packs < target:
            batch = [one_pack(self.packs + i, self.slices) for i in range(min(each, target - self.packs))]
            started, used = time.perf_counter(), self._used()
            await self.index.upsert(batch)
            if self.packs >= half:
                wall += time.perf_counter() - started
                cpu += self._used() - used
                counted += len(batch) * self.slices
            self.packs += len(batch)
        return counted / wall, cpu / counted * 1e3

    def _used(self) -> float:
        return time.process_time() + (cpu_seconds(self.server) if self.server else 0.0)


class Questions:
    """What is asked, each time about something else; `number` counts from 0."""

    def __init__(self, growing: Growing, folder: Path) -> None:
        self._growing = growing
        self._sidecars = Sidecars(FolderObjects(folder), memory=1 << 20)

    @property
    def all(self) -> dict[str, Callable[[int], Awaitable[int]]]:
        """Each returns how many matches it had."""
        return {
            "C-FIND studies since a recent day": self._recent,
            "C-FIND studies of an old day": lambda n: self._find("STUDY", StudyDate=day_of(self._study(n)), **_STUDY),
            "C-FIND studies by beginning of a name": self._by_name,
            "C-FIND studies by accession number": self._by_accession,
            "C-FIND series of a study": self._series,
            "C-FIND instances of a series": self._instances,
            "QIDO studies, page of 101": lambda n: self._search(Search(Level.STUDY, limit=102, offset=n % 5)),
            "QIDO instances, page of 200": lambda n: self._search(Search(Level.IMAGE, limit=201)),
        }

    def _study(self, number: int) -> int:
        return number * 7919 % self._growing.studies

    async def _recent(self, number: int) -> int:
        day = day_of(self._growing.studies * 99 // 100 - number % 3)
        return await self._find("STUDY", StudyDate=f"{day}-", ModalitiesInStudy="CT", **_STUDY)

    async def _by_name(self, number: int) -> int:
        name = name_of(self._study(number) // STUDIES_A_PATIENT)
        return await self._find("STUDY", PatientName=name.partition("^")[0] + "*", **_STUDY)

    async def _by_accession(self, number: int) -> int:
        return await self._find("STUDY", AccessionNumber=f"ACC{self._study(number):08d}", **_STUDY)

    async def _series(self, number: int) -> int:
        study = uid(1, self._study(number))
        return await self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="", SeriesNumber="",
                                NumberOfSeriesRelatedInstances="")  # fmt: skip

    async def _instances(self, number: int) -> int:
        series = number * 7919 % self._growing.packs
        return await self._find("IMAGE", StudyInstanceUID=uid(1, series // SERIES_A_STUDY), SOPInstanceUID="",
                                SeriesInstanceUID=uid(2, series), InstanceNumber="")  # fmt: skip

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
        page = await handle_find(request, self._growing.index, self._sidecars, page=200)
        return len(page.identifiers)

    async def _search(self, search: Search) -> int:
        return len((await self._growing.index.search(search)).matches)


_STUDY = {"StudyInstanceUID": "", "PatientID": "", "StudyDescription": "", "NumberOfStudyRelatedInstances": ""}


@dataclass(frozen=True)
class IndexMeasurement:
    """What was measured at a size; latencies in milliseconds."""

    database: str
    instances: int
    rate: float
    cpu: float
    bytes: float
    wal: float
    latencies: dict[str, tuple[float, float]]


async def ask(question: Callable[[int], Awaitable[int]], name: str) -> tuple[float, float]:
    """Return the median and the slowest in milliseconds, after a few that warm up."""
    taken = []
    for number in range(ASKED + 3):
        started = time.perf_counter()
        found = await question(number)
        taken.append((time.perf_counter() - started) * 1e3)
        assert found, f"{name}: nothing found"
    taken = sorted(taken[3:])
    return taken[len(taken) // 2], taken[-1]


async def written(url: str) -> tuple[float, float]:
    """Return the bytes that a database takes, and those of WAL that were written; SQLite's are not counted."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
                return float((await connection.execute(text(size))).scalar_one()), 0.0
            both = "SELECT pg_database_size(current_database()), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
            size_of, wal = (await connection.execute(text(both))).one()
            return float(size_of), float(wal)
    finally:
        await engine.dispose()


async def measure(
    database: str, url: str, options: argparse.Namespace, folder: Path, server: int = 0
) -> list[IndexMeasurement]:
    """Fill one database and ask it at each size."""
    index = SqlIndex(url)
    await index.start()
    growing, lines = Growing(index, options.slices, server), []
    questions = Questions(growing, folder)
    before, had = await written(url), 0
    for size in (size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size <= options.instances):
        rate, cpu = await growing.grow(size)
        after = await written(url)
        bytes_each, wal_each = ((b - a) / (size - had) for a, b in zip(before, after, strict=True))
        before, had = after, size
        latencies = {name: await ask(question, name) for name, question in questions.all.items()}
        lines.append(IndexMeasurement(database, size, rate, cpu, bytes_each, wal_each, latencies))
        print(f"{database} {size:,} instances: {rate:.0f}/s, {cpu:.2f} ms of CPU each", flush=True)
        for name, (p50, p99) in latencies.items():
            print(f"  {name}: p50 {p50:.1f}, slowest {p99:.1f} ms", flush=True)
    await index.close()
    return lines


def table(lines: Sequence[IndexMeasurement]) -> str:
    """Return everything as Markdown: a column for each database and size."""
    head = "| | " + " | ".join(f"{line.database}, {line.instances:,}" for line in lines) + " |"
    rows = [head, "|---|" + "--:|" * len(lines)]
    rows.append("| indexed, instances/s | " + " | ".join(f"{line.rate:.0f}" for line in lines) + " |")
    rows.append("| CPU an instance, ms | " + " | ".join(f"{line.cpu:.2f}" for line in lines) + " |")
    rows.append("| bytes an instance in the database | " + " | ".join(f"{line.bytes:.0f}" for line in lines) + " |")
    rows.append(
        "| bytes of WAL an instance | " + " | ".join(f"{line.wal:.0f}" if line.wal else "-" for line in lines) + " |"
    )
    for name in lines[0].latencies:
        cells = ("{:.1f} / {:.1f}".format(*line.latencies[name]) for line in lines)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """Fill and ask each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--slices", type=int, default=200, help="instances in a pack")
    parser.add_argument("--databases", type=lambda t: t.split(","), default=["PostgreSQL", "SQLite"])
    parser.add_argument("--postgres", default="", help="SQLAlchemy URL of an empty database, instead of a private one")
    parser.add_argument("--docs", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="osteon-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        lines: list[IndexMeasurement] = []
        if options.postgres:
            lines += asyncio.run(measure("PostgreSQL", options.postgres, options, folder))
        elif "PostgreSQL" in options.databases:
            with Postgres(folder / "postgres") as server:
                lines += asyncio.run(measure("PostgreSQL", server.url, options, folder, server.process.pid))
        if "SQLite" in options.databases:
            url = f"sqlite+aiosqlite:///{folder / 'index.sqlite'}"
            lines += asyncio.run(measure("SQLite", url, options, folder))
    made = (
        f"{machine()}\n`python tests/load/bench_index.py {' '.join(sys.argv[1:])}`: packs of {options.slices}"
        f" instances; milliseconds are the median and the slowest of {ASKED}.\n\n{table(lines)}"
    )
    print(f"\n{made}")
    if options.docs:
        replace_section("index", made)


if __name__ == "__main__":
    main()
