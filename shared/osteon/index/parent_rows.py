"""Patients, studies and series of the instances of a batch: made, locked, filled in, added up.

The first instance stored gives the attributes; what it lacks is filled in from later ones. A new row is inserted as it
is to be after the batch: an update would write its many index entries again.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, Table, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.pack_records import InstanceEntry
from osteon.dicom.identity import Identity, parse_public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.change_log import ChangeSet
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
    """One patient, study or series: its row as it was before, an empty one when it is new, and what is added."""

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

    def begin(self, row: dict[str, Any]) -> None:
        """Start to add to a row."""
        self.row = row
        self.filled = {}
        self.added = dict.fromkeys(_SUMS[self.level], 0)
        self.missing = {f.keyword: f for f in ROW_FIELDS[self.level] if f.is_empty(row)}

    def take(self, entry: InstanceEntry) -> None:
        """Add an instance that was stored."""
        self.added["instances"] += 1
        self.added["size"] += entry.length
        for keyword in self.missing.keys() & entry.attributes.keys():
            value = entry.attributes[keyword]
            if value or (keyword not in self.filled and self.missing[keyword].is_absent(self.row)):
                self.filled[keyword] = value
            if value:
                del self.missing[keyword]


class Parents:
    """All parents of one batch."""

    def __init__(self, connection: AsyncConnection, dialect: Dialect, now: datetime) -> None:
        self._connection = connection
        self._dialect = dialect
        self._now = now
        self._all: dict[Level, dict[_Key, Parent]] = {level: {} for level in reversed(_UPWARDS)}
        self._expected = 0

    async def prepare(self, entries: Sequence[InstanceEntry]) -> None:
        """Lock the patients, and so all below them; insert the rows that are absent, in the order of arrival."""
        self._expected = len(entries)
        for entry in entries:
            self._take(entry)
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
        # What was made is complete, unless another writer was first with an instance.
        complete = {id(p) for p in self._parents() if p.created} if len(stored) == self._expected else set()
        for parent in self._parents():
            if parent.created and id(parent) not in complete:
                parent.begin(_empty_row(parent))
        for entry in stored:
            self._take(entry, complete)
        await self._drop_empty()
        created = self._created(stored, complete)
        growing: list[tuple[Level, bytes]] = []
        for level, parents in self._all.items():
            grown = [parent for parent in parents.values() if parent.added["instances"]]
            await self._update(level, [parent for parent in grown if id(parent) not in complete])
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
                parent = self._all[level][key] = Parent(level, public_id, identity, above)
                parent.begin(_empty_row(parent))
                _count_below(parent)
            above = self._all[level][key]
        assert above is not None
        return above

    def _parents(self) -> Iterator[Parent]:
        return itertools.chain.from_iterable(parents.values() for parents in self._all.values())

    def _take(self, entry: InstanceEntry, complete: Collection[int] = ()) -> None:
        """Add an instance to all that is above it, but to what has it already."""
        parent: Parent | None = self._add(entry.identity)
        while parent:
            if id(parent) not in complete:
                parent.take(entry)
            parent = parent.above

    async def _make(self, level: Level, parents: list[Parent]) -> None:
        """Find rows or insert them: who holds the patients is alone with what is below them."""
        table = tables.TABLE_OF[level]
        present = await self._connection.execute(_by_public_id(parents, table))
        rows = {row["public_id"]: dict(row) for row in present.mappings()}
        new = []
        for parent in parents:
            if parent.public_id in rows:
                parent.begin(rows[parent.public_id])
                parent.id = parent.row["id"]
            else:
                parent.created = True
                new.append(parent)
        if not new:
            return
        # Without RETURNING a row has a short statement of its own, which the driver need not parse again.
        insert = self._dialect.insert(table).on_conflict_do_nothing(index_elements=["public_id"])
        await self._connection.execute(insert, [self._new_row(parent) for parent in new])
        made = await self._connection.execute(_by_public_id(new, table.c.public_id, table.c.id))
        ids = {row.public_id: row.id for row in made}
        for parent in new:
            parent.id = ids[parent.public_id]

    def _new_row(self, parent: Parent) -> dict[str, Any]:
        """Return the row as it is when all instances of the batch are stored."""
        row = parent.row | parent.added | {"public_id": parent.public_id, "updated": self._now}
        for keyword, value in parent.filled.items():
            row |= FIELDS[keyword].store(value)
        if parent.above:
            row[tables.PARENT_OF[parent.level]] = parent.above.id
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

    def _created(self, stored: Sequence[InstanceEntry], complete: Collection[int]) -> ChangeSet:
        created = ChangeSet(instances=len(stored), size=sum(entry.length for entry in stored))
        for level, parents in self._all.items():
            new = [p for p in parents.values() if p.created and p.added["instances"]]
            created.resources[level] = [parent.public_id for parent in new]
            for parent in new:
                _count_below(parent, complete)
        return created

    async def _update(self, level: Level, grown: list[Parent]) -> None:
        """Write sums, and attributes where there are new ones."""
        table = tables.TABLE_OF[level]
        fuller = [parent for parent in grown if parent.filled or parent.created]
        columns = [column for field in ROW_FIELDS[level] for column in field.columns]
        for parents, names in ((fuller, columns), ([p for p in grown if not (p.filled or p.created)], [])):
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


def _by_public_id(parents: Sequence[Parent], *what: Any) -> Select[Any]:
    column = tables.TABLE_OF[parents[0].level].c.public_id
    return select(*what).where(column.in_([parent.public_id for parent in parents]))


def _count_below(parent: Parent, complete: Collection[int] = ()) -> None:
    """Count a new study or series in what is above it, but in what has counted it already."""
    above = parent.above
    while above:
        if id(above) not in complete:
            above.added["studies" if parent.level is Level.STUDY else "series"] += 1
        above = above.above


def _empty_row(parent: Parent) -> dict[str, Any]:
    """Return the columns of a row that has no instance yet, without those that say which it is in the database."""
    row: dict[str, Any] = dict.fromkeys(column for f in ROW_FIELDS[parent.level] for column in f.columns)
    row |= dict.fromkeys(_SUMS[parent.level], 0)
    if parent.level is not Level.SERIES:
        row |= FIELDS["PatientID"].store(parent.identity.patient_id or None)
    if parent.level is Level.STUDY:
        row["study_instance_uid"] = parent.identity.study_uid
    if parent.level is Level.SERIES:
        row["series_instance_uid"] = parent.identity.series_uid
    return row


def _update_statement(table: Table, columns: list[str]) -> Any:
    return (
        update(table)
        .where(table.c.id == bindparam("row"))
        .values({column: bindparam(f"v_{column}", type_=table.c[column].type) for column in columns})
    )
