"""Builders of `StoredPack` and invented resources for tests of the index and of those who use it."""

import asyncio
import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path

import xxhash
from sqlalchemy import func, select

from osteon.archive.pack_records import InstanceEntry, StoredPack
from osteon.contracts.packs import Origin, PackStored
from osteon.dicom.identity import Identity
from osteon.index.sql import SqlIndex
from osteon.index.tables import (
    NAMES,
    conflicts,
    instances,
    packs,
    patients,
    series,
    studies,
    study_sop_classes,
    totals,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"
RECEIVED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

_packs = count(1)


def sqlite_url(path: Path) -> str:
    """Return the URL of a new, empty index at `path`: a copy of one that was migrated once for the whole run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_empty_sqlite())
    return f"sqlite+aiosqlite:///{path}"


@cache
def _empty_sqlite() -> bytes:
    async def migrate(path: Path) -> None:
        index = SqlIndex(f"sqlite+aiosqlite:///{path}")
        await index.start()
        await index.close()

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other_thread:
        path = Path(folder) / "index.sqlite"
        other_thread.submit(lambda: asyncio.run(migrate(path))).result()  # a loop may be running in this one
        return path.read_bytes()


def entry(
    patient: str = "P1", study: str = "1.2.1", series: str = "1.2.1.1", sop: str = "1.2.1.1.1", /, *,
    content: str = "first", sop_class: str = CT, syntax: str = EXPLICIT, offset: int = 512, length: int = 1000,
    requests: tuple[tuple[str, str], ...] = (), **attributes: str,
) -> InstanceEntry:  # fmt: skip
    """Make one instance; `content` stands for its bytes, `attributes` are by keyword."""
    identity = Identity(patient, study, series, sop, sop_class)
    required = {
        "PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop,
        "SOPClassUID": sop_class,
    }  # fmt: skip
    return InstanceEntry(
        identity=identity,
        transfer_syntax_uid=syntax,
        offset=offset,
        length=length,
        sha256=hashlib.sha256(f"{sop} {content}".encode()).digest(),
        xxh3=xxhash.xxh3_128(f"{sop} {content} in {length} bytes".encode()).digest(),
        attributes={k: v for k, v in (required | attributes).items() if v or k in attributes},
        requests=requests,
    )


def pack(*entries: InstanceEntry, pack_id: str | None = None, received: datetime = RECEIVED) -> StoredPack:
    """Put instances into a pack, as if of the series of the first."""
    first = entries[0].identity
    facts = PackStored(
        correlation_id="test", pack_id=pack_id or f"pack-{next(_packs):06d}", study_uid=first.study_uid,
        series_uid=first.series_uid, origin=Origin.DIMSE, calling_aet="CT1", remote_host="127.0.0.1",
        received_at=received, instances=len(entries), size=sum(e.length + 1024 for e in entries) + 4096,
        sidecar_offset=sum(e.length + 1024 for e in entries),
    )  # fmt: skip
    return StoredPack(facts, entries)


def slices(
    n: int, patient: str = "P1", study: str = "1.2.1", series: str = "1.2.1.1", /, **attributes: str
) -> list[InstanceEntry]:
    """Make a series of `n` CT slices, one behind the other in their pack."""
    given = {"Modality": "CT", "Rows": "512", "Columns": "512", "BitsAllocated": "16"} | attributes
    return [
        entry(patient, study, series, f"{series}.{i}", offset=512 + 2048 * (i - 1), InstanceNumber=str(i), **given)
        for i in range(1, n + 1)
    ]


def study(patient: str, uid: str, /, n: int = 1, **attributes: str) -> StoredPack:
    """Make a pack with a study of one series of `n` slices."""
    return pack(*slices(n, patient, uid, f"{uid}.1", **attributes))


def uids(entries: Sequence[InstanceEntry]) -> list[str]:
    """Return the SOP Instance UIDs."""
    return [e.identity.sop_uid for e in entries]


async def check_sums(index: SqlIndex) -> None:
    """Compare every sum that is kept with what a count gives."""
    async with index.database.read() as c:
        for table, sums in ((patients, studies.c.patient), (studies, series.c.study), (series, instances.c.series)):
            column = {"patients": "studies", "studies": "series", "series": "instances"}[table.name]
            counted = select(func.count()).where(sums == table.c.id).scalar_subquery()
            wrong = await c.execute(select(table.c.id).where(table.c[column] != counted))
            assert wrong.all() == [], f"{table.name}.{column}"
        below = instances.join(series, instances.c.series == series.c.id).join(studies, series.c.study == studies.c.id)
        per_patient = select(func.count(), func.sum(instances.c.byte_length)).select_from(below)
        for row in await c.execute(select(patients)):
            counted = (await c.execute(per_patient.where(studies.c.patient == row.id))).one()
            assert (row.instances, row.size) == tuple(counted)
        kept = (await c.execute(select(totals))).one()
        summed = await c.execute(
            select(func.count(), func.sum(patients.c.studies), func.sum(patients.c.series),
                   func.sum(patients.c.instances), func.sum(patients.c.size))
        )  # fmt: skip
        assert (kept.patients, kept.studies, kept.series, kept.instances, kept.size) == tuple(summed.one())
        assert kept.packs == await c.scalar(select(func.count()).where((packs.c.stored > 0) | (packs.c.conflicts > 0)))
        assert kept.conflicts == await c.scalar(select(func.count()).where(conflicts.c.resolved.is_(None)))
        pairs = await c.execute(select(instances.c.sop_class, studies.c.id).select_from(below).distinct())
        assert {tuple(row) for row in pairs} == {
            (row.sop_class, row.study) for row in await c.execute(select(study_sop_classes))
        }
        for level, (names, _) in NAMES.items():
            rows = (await c.execute(select(names.c.owner, names.c.keyword, names.c.key))).all()
            assert len(rows) == len(set(rows)), level
