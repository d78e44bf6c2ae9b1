"""An index and an object store for tests of the search: they hold what a test gives them and record what is asked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from osteon.archive.resources import Instance, Location, Match, MatchPage, Patient, Series, Study
from osteon.contracts.packs import Origin, PackStored, SidecarPlace
from osteon.dicom.header.model import Header
from osteon.dicom.identity import Identity
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.objects.port import ObjectNotFound
from osteon.packs.sidecar import SidecarLine, encode

NOW = datetime(2024, 1, 2, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

PATIENT = {"PatientID": "OSTEON-1", "PatientName": "Doe^Jane", "PatientBirthDate": "19700203", "PatientSex": "F"}
STUDY = {
    "StudyInstanceUID": "1.2.3",
    "StudyDate": "20240102",
    "StudyTime": "101500",
    "AccessionNumber": "A1",
    "StudyID": "S1",
    "StudyDescription": "Head",
}
SERIES = {"SeriesInstanceUID": "1.2.3.4", "Modality": "CT", "SeriesNumber": "2", "SeriesDescription": "Axial"}
IMAGE = {
    "SOPInstanceUID": "1.2.3.4.5",
    "SOPClassUID": CT,
    "InstanceNumber": "7",
    "Rows": "512",
    "Columns": "256",
    "BitsAllocated": "16",
}


def location(number: int = 0, *, pack: str = "p1") -> Location:
    """Return the location of the instance `number` of a pack."""
    identity = Identity("OSTEON-1", "1.2.3", "1.2.3.4", f"1.2.3.4.5.{number}", CT)
    key = f"1.2.3/1.2.3.4/{pack}"
    return Location(
        identity,
        EXPLICIT,
        f"{key}.tar",
        SidecarPlace(f"{key}.tar", 400_000),
        512 + number * 1000,
        900,
        bytes(32),
        identity.public_instance,
    )


def match(
    level: Level,
    *,
    patient: dict[str, str] | None = None,
    study: dict[str, str] | None = None,
    series: dict[str, str] | None = None,
    image: dict[str, str] | None = None,
    requests: tuple[tuple[str, str], ...] = (),
    at: Location | None = None,
) -> Match:
    """Return a match at `level`; attributes given replace the usual ones."""
    of_patient = PATIENT | (patient or {})
    return Match(
        level=level,
        patient=Patient("patient", of_patient, studies=2, series=3, instances=40, size=1, updated=NOW),
        study=None
        if level.depth < 1
        else Study(
            "study", STUDY | (study or {}), of_patient, ("CT", "SR"), (CT,), series=2, instances=30, size=1, updated=NOW
        ),
        series=None
        if level.depth < 2
        else Series("series", SERIES | (series or {}), requests, instances=20, size=1, updated=NOW),
        instance=None if level.depth < 3 else Instance("instance", IMAGE | (image or {}), at or location(), NOW),
    )


@dataclass
class ScriptedIndex:
    """Answers each search with the next page, and finds every resource at the same locations."""

    pages: list[MatchPage] = field(default_factory=list)
    locations: list[Location] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)
    asked: list[tuple[Level, tuple[str, ...]]] = field(default_factory=list)
    error: Exception | None = None

    async def search(self, search: Search) -> MatchPage:
        self.searches.append(search)
        if self.error:
            raise self.error
        return self.pages[len(self.searches) - 1]

    async def representatives(self, level: Level, public_ids: Sequence[str]) -> dict[str, Location]:
        self.asked.append((level, tuple(public_ids)))
        return dict(zip(public_ids, self.locations, strict=False))


@dataclass
class CountingObjects:
    """Objects in memory; counts how often each is read."""

    stored: dict[str, bytes] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def get(self, key: str, offset: int = 0) -> bytes:
        self.reads.append(key)
        if self.error:
            raise self.error
        if key not in self.stored:
            raise ObjectNotFound(f"no object {key}")
        return self.stored[key]


def sidecar(headers: Sequence[dict[str, Any]], *, pack: str = "p1") -> bytes:
    """Return the sidecar of a pack whose instances, at `location(0…)`, have these headers."""
    facts = PackStored(
        correlation_id="c",
        pack_id=pack,
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        origin=Origin.DIMSE,
        received_at=NOW,
        instances=max(len(headers), 1),
        size=1,
    )
    return encode(facts, (_line(location(n, pack=pack), header) for n, header in enumerate(headers)))


def _line(at: Location, header: dict[str, Any]) -> SidecarLine:
    return SidecarLine(
        identity=at.identity,
        transfer_syntax_uid=at.transfer_syntax_uid,
        offset=at.offset,
        length=at.length,
        dataset_offset=300,
        sha256=at.sha256,
        xxh3=at.xxh3,
        header=Header(json=json.dumps(header).encode()),
    )
