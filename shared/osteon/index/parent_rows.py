"""Patients, studies and series of the instances of a batch: made, locked, filled in, added up.

The first instance stored gives the attributes; what it lacks is filled in from later ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.pack_records import InstanceEntry
from osteon.dicom.identity import Identity, parse_public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.change_log import ChangeSet
from osteon.index.database import RepeatTransaction
from osteon.index.dialect import Dialect
from osteon.index.fields import FIELDS, LEVEL_FIELDS, STUDY_ROW_FIELDS, Field
from osteon.index.growth import note_growth
from osteon.index.secondary_tables import write_names, write_requests, write_sop_classes

_CHUNK: Final = 1000
_UPWARDS: Final = (Level.SERIES, Level.STUDY, Level.PATIENT)
ROW_FIELDS: Final = {
    Level.PATIENT: LEVEL_FIELDS[Level.PATIENT],
    Level.STUDY: STUDY_ROW_FIELDS,
    Level.SERIES: LEVEL_FIELDS[Level.SERIES],
}
"""The attributes that a row of a level has."""
_SUMS: Final = {
    Level.PATIENT: ("studies", "series", "instances", "size"),
    Level.STUDY: ("series", "instances", "size"),
    Level.SERIES: ("instances", "size"),
}
_Key = tuple[str, ...]
"""(Patient ID), (…, Study Instance UID), (…, Series Instance UID)."""


@dataclass(slots=True)
class Parent:
    """One patient, study or series: its row as it was read, and what is added."""

    level: Level
    public_id: bytes
    identity: Identity
    above: "Parent | None"
    created: bool = False
    id: int = 0
    row: dict[str, Any] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    missing: dict[str, Field] = field(default_factory=dict)
    filled: dict[str, str] = field(default_factory=dict)

    def found(self, row: dict[str, Any]) -> None:
        """Take the row over, once it is locked."""
        self.row = row
        self.id = row["id"]
        self.added = dict.fromkeys(_SUMS[self.level], 0)
        self.missing = {f.keyword: f for f in ROW_FIELDS[self.level] if row[f.column] is None}

    def take(self, entry: InstanceEntry) -> None:
        """Add an instance that was stored."""
        self.added["instances"] += 1
        self.added["size"] += entry.length
        for keyword in self.missing.keys() & entry.attributes.keys():
            if entry.attributes[keyword]:
                self.filled[keyword] = entry.attributes[keyword]
                del self.missing[keyword]


class Parents:
    """All parents of one batch."""

    def __init__(self, connection: AsyncConnection, dialect: Dialect, now: datetime) -> None:
        self._connection = connection
        self._dialect = dialect
        self._now = now
        self._all: dict[Level, dict[_Key, Parent]] = {level: {} for level in reversed(_UPWARDS)}

    async def prepare(self, entries: Sequence[InstanceEntry]) -> None:
        """Lock the patients, and so all below them; insert the rows that are absent, in the order of arrival."""
        for entry in entries:
            self._add(entry.identity)
        patients = self._all[Level.PATIENT].values()
        if patients:
            await self._dialect.lock_patients(self._connection, [parent.public_id for parent in patients])
        for level, parents in self._all.items():
            ordered = list(parents.values())
            for start in range(0, len(ordered), _CHUNK):
                await self._make(level, ordered[start : start + _CHUNK])

    def series_row(self, identity: Identity) -> int:
        """Return the id of an instance's series."""
        return self._all[Level.SERIES][identity.patient_id, identity.study_uid, identity.series_uid].id

    def rows(self, identity: Identity) -> dict[Level, int]:
        """Return the ids of an instance's series, study and patient."""
        parent: Parent | None = self._add(identity)
        found = {}
        while parent:
            found[parent.level] = parent.id
            parent = parent.above
        return found

    async def grow(self, stored: Sequence[InstanceEntry], uids: dict[str, int]) -> ChangeSet:
        """Add the instances that were stored; returns what is new. What was made for none of them goes again."""
        for entry in stored:
            parent: Parent | None = self._add(entry.identity)
            while parent:
                parent.take(entry)
                parent = parent.above
        await self._drop_empty()
        created = self._created(stored)
        growing: list[tuple[Level, bytes]] = []
        for level, parents in self._all.items():
            grown = [parent for parent in parents.values() if parent.added["instances"]]
            await self._update(level, grown)
            growing += [(level, parent.public_id) for parent in grown]
            await write_names(self._connection, level, [(parent.id, parent.filled) for parent in grown])
        await note_growth(self._connection, self._dialect, growing, self._now)
        studies = self._all[Level.STUDY]
        of_study = {
            (studies[e.identity.patient_id, e.identity.study_uid].id, uids[e.identity.sop_class_uid]) for e in stored
        }
        await write_sop_classes(self._connection, self._dialect, of_study)
        await write_requests(
            self._connection, [(self.series_row(e.identity), e.requests) for e in stored if e.requests]
        )
        return created

    def _add(self, identity: Identity) -> Parent:
        """Return the series of an instance; adds it and what is above it when new."""
        steps = (
            (Level.PATIENT, (identity.patient_id,), "public_patient"),
            (Level.STUDY, (identity.patient_id, identity.study_uid), "public_study"),
            (Level.SERIES, (identity.patient_id, identity.study_uid, identity.series_uid), "public_series"),
        )
        series = self._all[Level.SERIES].get(steps[-1][1])
        if series:
            return series
        above: Parent | None = None
        for level, key, name in steps:
            if key not in self._all[level]:
                public_id = parse_public_id(getattr(identity, name))
                self._all[level][key] = Parent(level, public_id, identity, above)
            above = self._all[level][key]
        assert above is not None
        return above

    async def _make(self, level: Level, parents: list[Parent]) -> None:
        table = tables.TABLE_OF[level]
        insert = self._dialect.insert(table).on_conflict_do_nothing(index_elements=["public_id"])
        added = await self._connection.execute(
            insert.returning(table.c.public_id), [self._bare_row(parent) for parent in parents]
        )
        created = {row.public_id for row in added}
        present = select(table).where(table.c.public_id.in_([parent.public_id for parent in parents]))
        rows = {row["public_id"]: dict(row) for row in (await self._connection.execute(present)).mappings()}
        for parent in parents:
            if parent.public_id not in rows:
                raise RepeatTransaction("a resource was deleted while an instance of it was indexed")
            parent.created = parent.public_id in created
            parent.found(rows[parent.public_id])

    def _bare_row(self, parent: Parent) -> dict[str, Any]:
        row: dict[str, Any] = {"public_id": parent.public_id, "updated": self._now}
        row |= dict.fromkeys(_SUMS[parent.level], 0)
        if parent.above:
            row[tables.PARENT_OF[parent.level]] = parent.above.id
        if parent.level is not Level.SERIES:
            row |= FIELDS["PatientID"].store(parent.identity.patient_id)
        if parent.level is Level.STUDY:
            row["study_instance_uid"] = parent.identity.study_uid
        if parent.level is Level.SERIES:
            row["series_instance_uid"] = parent.identity.series_uid
        return row

    async def _drop_empty(self) -> None:
        """Take back what was made for instances that another writer then stored elsewhere."""
        for level in _UPWARDS:
            table = tables.TABLE_OF[level]
            empty = [p for p in self._all[level].values() if p.created and not p.added["instances"]]
            if empty:
                await self._connection.execute(
                    delete(table).where(self._dialect.among(table.c.id, [p.id for p in empty]))
                )

    def _created(self, stored: Sequence[InstanceEntry]) -> ChangeSet:
        created = ChangeSet(instances=len(stored), size=sum(entry.length for entry in stored))
        for level, parents in self._all.items():
            new = [p for p in parents.values() if p.created and p.added["instances"]]
            created.resources[level] = [parent.public_id for parent in new]
            for parent in new:
                above = parent.above
                while above:
                    above.added["studies" if level is Level.STUDY else "series"] += 1
                    above = above.above
        return created

    async def _update(self, level: Level, grown: list[Parent]) -> None:
        """Write sums, and attributes where there are new ones."""
        table = tables.TABLE_OF[level]
        fuller = [parent for parent in grown if parent.filled]
        columns = [c for f in ROW_FIELDS[level] for c in (f.column, f.key) if c]
        for parents, names in ((fuller, columns), ([p for p in grown if not p.filled], [])):
            if parents:
                await self._connection.execute(
                    _update_statement(table, ["updated", *_SUMS[level], *names]),
                    [self._values(parent, names) for parent in parents],
                )

    def _values(self, parent: Parent, columns: list[str]) -> dict[str, Any]:
        row = parent.row
        for keyword, value in parent.filled.items():
            row |= FIELDS[keyword].store(value)
        values: dict[str, Any] = {"v_" + column: row[column] for column in columns}
        values |= {f"v_{name}": row[name] + n for name, n in parent.added.items()}
        return values | {"row": parent.id, "v_updated": self._now}


def _update_statement(table: Table, columns: list[str]) -> Any:
    return (
        update(table)
        .where(table.c.id == bindparam("row"))
        .values({column: bindparam(f"v_{column}", type_=table.c[column].type) for column in columns})
    )
