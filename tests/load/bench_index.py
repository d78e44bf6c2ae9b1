"""How fast packs become rows: `python tests/load/bench_index.py URL… [--packs 50] [--slices 60] [--batches 5]`.

Prints instances/s, CPU of this process per instance, and (PostgreSQL) CPU of the server and bytes of rows and indexes
per instance. The database must be one to throw away.
"""

import argparse
import asyncio
import hashlib
import sys
import time
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from osteon.dicom.query import Condition, Level, Search, Wildcard
from osteon.index.port import StoredPack
from osteon.index.sql import SqlIndex
from support.index import pack, slices

ROOT = "1.2.826.0.1.3680043.8.498."
"""A root of the usual length: UIDs are 64 characters in most archives."""
FAMILY = ("Müller", "Meyer", "Nguyen", "Kowalski", "Papadopoulos", "Yamada", "Silva", "O'Brien")
GIVEN = ("Anna", "Jörg", "Minh", "Zofia", "Eleni", "Tarō", "João", "Seán")


def uid(*parts: int) -> str:
    digits = int(hashlib.sha256(repr(parts).encode()).hexdigest(), 16) % 10**36
    return f"{ROOT}{digits:036d}"[:64]


def one_pack(number: int, n: int) -> StoredPack:
    study, patient = number // 5, number // 10
    attributes = {
        "PatientName": f"{FAMILY[patient % 8]}^{GIVEN[patient // 8 % 8]}", "PatientSex": "O", "StudyTime": "101530.123",
        "PatientBirthDate": "19700101", "StudyDate": f"2026{study % 12 + 1:02d}{study % 28 + 1:02d}",
        "AccessionNumber": f"ACC{study:08d}", "StudyDescription": "CT abdomen with contrast", "StudyID": str(study),
        "ReferringPhysicianName": "House^Gregory", "InstitutionName": "General Hospital", "Modality": "CT",
        "SeriesNumber": str(number % 5 + 1), "SeriesDescription": "Axial 1.0 soft tissue", "Manufacturer": "ACME",
        "BodyPartExamined": "ABDOMEN", "ProtocolName": "Abdomen", "StationName": "CT1", "OperatorsName": "Doe^Jane",
    }  # fmt: skip
    study_uid = uid(1, study)
    return pack(*slices(n, f"PAT{patient:07d}", study_uid, uid(2, number), **attributes), pack_id=f"b{number:012d}")


def server_cpu(backend: int) -> float:
    """Return seconds of CPU of a backend on this host."""
    fields = Path(f"/proc/{backend}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(url: str, options: argparse.Namespace) -> None:
    index = SqlIndex(url, pool=1)
    await index.start()
    first = (await index.statistics()).packs
    instances, wall, cpu, backend = 0, 0.0, 0.0, 0.0
    server = await backend_of(index)
    for batch in range(options.batches):
        packs = [one_pack(first + batch * options.packs + i, options.slices) for i in range(options.packs)]
        before = time.perf_counter(), time.process_time(), server_cpu(server) if server else 0.0
        outcomes = await index.upsert(packs)
        wall += time.perf_counter() - before[0]
        cpu += time.process_time() - before[1]
        backend += (server_cpu(server) if server else 0.0) - before[2]
        instances += sum(outcome.stored for outcome in outcomes)
    print(f"{make_url(url).drivername}: {instances} instances, {instances / wall:.0f}/s")
    print(f"  CPU per instance: {cpu / instances * 1e6:.0f} µs here, {backend / instances * 1e6:.0f} µs in the server")
    started = time.perf_counter()
    for _ in range(20):
        await index.search(Search(Level.STUDY, (Condition(("PatientName",), Wildcard("*walski*")),)))
    print(f"  study search *x* by name: {(time.perf_counter() - started) * 50:.1f} ms")
    started = time.perf_counter()
    for _ in range(20):
        await index.search(Search(Level.IMAGE, limit=200))
    print(f"  page of 200 instances: {(time.perf_counter() - started) * 50:.1f} ms")
    total = (await index.statistics()).instances
    await index.close()
    await sizes(url, total)


async def backend_of(index: SqlIndex) -> int:
    async with index._database.read() as connection:  # the pool has one connection: the one that will write
        if connection.dialect.name != "postgresql":
            return 0
        return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def sizes(url: str, instances: int) -> None:
    if "sqlite" in url:
        size = Path(make_url(url).database or "").stat().st_size
        print(f"  {size / instances:.0f} bytes per instance in {size >> 20} MiB")
        return
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT relname, relkind, pg_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'i')"
                 " AND relnamespace = 'public'::regnamespace ORDER BY 3 DESC")
        )  # fmt: skip
        found = list(rows)
    await engine.dispose()
    print(f"  {sum(size for *_, size in found) / instances:.0f} bytes per instance in all:")
    for name, _, size in found[:10]:
        print(f"    {name}: {size / instances:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", nargs="+")
    for name, default in (("packs", 50), ("slices", 60), ("batches", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    for url in options.urls:
        asyncio.run(measure(url, options))


if __name__ == "__main__":
    main()
