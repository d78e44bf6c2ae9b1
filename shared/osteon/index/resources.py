"""Rows of the four levels as the port's resources: a page of matches in one statement a level."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, Table, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.resources import Instance, Match, Patient, Series, Study
from osteon.dicom.identity import Identity, format_public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.fields import LEVEL_FIELDS
from osteon.index.locations import location
from osteon.index.rule_tables import growing
from osteon.index.uids import Uids

_Rows = Mapping[int, Row[Any]]


class Resources:
    """Reads resources with all that is above them."""

    def __init__(self, connection: AsyncConnection, dialect: Dialect, uids: Uids) -> None:
        self._connection = connection
        self._among = dialect.among
        self._uids = uids

    async def matches(self, level: Level, ids: Sequence[int]) -> list[Match]:
        """Return the resources of rows, in the order of `ids`."""
        if not ids:
            return []
        rows: dict[Level, _Rows] = {level: await self._rows(level, ids)}
        for lower in reversed(list(Level)[1 : level.depth + 1]):
            upper = list(Level)[lower.depth - 1]
            above = {getattr(row, tables.PARENT_OF[lower]) for row in rows[lower].values()}
            rows[upper] = await self._rows(upper, above)
        patients = {row.id: _patient(row) for row in rows[Level.PATIENT].values()}
        studies = await self._studies(rows.get(Level.STUDY, {}))
        series = await self._series(rows.get(Level.SERIES, {}))
        instances = await self._instances(rows)
        chain: list[Mapping[int, Any]] = [patients, studies, series, instances]
        steps = [
            (rows[step], tables.PARENT_OF.get(step, ""), chain[step.depth]) for step in list(Level)[level.depth :: -1]
        ]
        return [_match(level, row, steps) for row in ids if row in rows[level]]

    async def _rows(self, level: Level, ids: Iterable[int]) -> _Rows:
        table = tables.TABLE_OF[level]
        chosen = select(table).where(self._among(table.c.id, list(ids)))
        if level is not Level.IMAGE:
            grows = exists().where(growing.c.level == level.depth, growing.c.public_id == table.c.public_id)
            chosen = chosen.add_columns((~grows).label("stable"))
        found = await self._connection.execute(chosen)
        return {row.id: row for row in found}

    async def _studies(self, rows: _Rows) -> dict[int, Study]:
        if not rows:
            return {}
        below, classes = tables.series.c, tables.study_sop_classes.c
        modalities: dict[int, list[str]] = defaultdict(list)
        pairs = select(below.study, below.modality).where(
            self._among(below.study, list(rows)), below.modality.is_not(None)
        )
        for row in await self._connection.execute(pairs.distinct().order_by(below.study, below.modality)):
            modalities[row.study].append(row.modality)
        found = await self._connection.execute(
            select(classes.study, classes.sop_class).where(self._among(classes.study, list(rows)))
        )
        numbers = [(row.study, row.sop_class) for row in found]
        texts = await self._uids.texts(self._connection, (number for _, number in numbers))
        sop_classes: dict[int, list[str]] = defaultdict(list)
        for study, number in numbers:
            sop_classes[study].append(texts[number])
        return {k: _study(row, modalities[k], sorted(sop_classes[k])) for k, row in rows.items()}

    async def _series(self, rows: _Rows) -> dict[int, Series]:
        if not rows:
            return {}
        c = tables.series_requests.c
        requests: dict[int, list[tuple[str, str]]] = defaultdict(list)
        found = select(c.series, c.scheduled_procedure_step_id, c.requested_procedure_id).where(
            self._among(c.series, list(rows))
        )
        for owner, step, procedure in await self._connection.execute(found.order_by(c.id)):
            requests[owner].append((step, procedure))
        return {k: _one_series(row, requests[k]) for k, row in rows.items()}

    async def _instances(self, rows: Mapping[Level, _Rows]) -> dict[int, Instance]:
        of_level = rows.get(Level.IMAGE, {})
        if not of_level:
            return {}
        pack_ids = {row.pack for row in of_level.values()}
        found = await self._connection.execute(select(tables.packs).where(self._among(tables.packs.c.id, pack_ids)))
        packs = {row.id: row for row in found}
        numbers = {n for row in of_level.values() for n in (row.sop_class, row.transfer_syntax)}
        texts = await self._uids.texts(self._connection, numbers)
        instances = {}
        for row in of_level.values():
            series = rows[Level.SERIES][row.series]
            study = rows[Level.STUDY][series.study]
            uid = (study.patient_id or "", study.study_instance_uid, series.series_instance_uid, row.sop_instance_uid)
            instances[row.id] = _instance(row, Identity(*uid, texts[row.sop_class]), packs[row.pack], texts)
        return instances


def _match(level: Level, row: int, steps: Sequence[tuple[_Rows, str, Mapping[int, Any]]]) -> Match:
    """Follow the references upwards from a row; a step is (rows, the reference's column, resources)."""
    resources: list[Any] = []
    for rows, reference, made in steps:
        resources.append(made[row])
        row = getattr(rows[row], reference) if reference else row
    return Match(level, *reversed(resources))


def _places(level: Level, table: Table) -> tuple[tuple[str, int], ...]:
    """Return the keywords of a level that a table has a column for, with the column's place in the table's rows."""
    names = table.c.keys()
    return tuple((f.keyword, names.index(f.column)) for f in LEVEL_FIELDS[level] if f.column in names)


_PLACES: Final = {level: _places(level, tables.TABLE_OF[level]) for level in Level}
_PATIENT_OF_STUDY: Final = _places(Level.PATIENT, tables.studies)


def _attributes(row: Row[Any], places: Sequence[tuple[str, int]]) -> dict[str, str]:
    # By place, as looking up names takes most of the time of a large page.
    return {keyword: str(value) for keyword, place in places if (value := row[place]) is not None}


def _patient(row: Row[Any]) -> Patient:
    return Patient(
        format_public_id(row.public_id), _attributes(row, _PLACES[Level.PATIENT]), studies=row.studies,
        series=row.series, instances=row.instances, size=row.size, updated=row.updated, stable=row.stable,
    )  # fmt: skip


def _study(row: Row[Any], modalities: list[str], sop_classes: list[str]) -> Study:
    return Study(
        format_public_id(row.public_id), _attributes(row, _PLACES[Level.STUDY]), _attributes(row, _PATIENT_OF_STUDY),
        tuple(modalities), tuple(sop_classes), series=row.series, instances=row.instances, size=row.size,
        updated=row.updated, stable=row.stable,
    )  # fmt: skip


def _one_series(row: Row[Any], requests: list[tuple[str, str]]) -> Series:
    return Series(
        format_public_id(row.public_id), _attributes(row, _PLACES[Level.SERIES]), tuple(requests),
        instances=row.instances, size=row.size, updated=row.updated, stable=row.stable,
    )  # fmt: skip


def _instance(row: Row[Any], identity: Identity, pack: Row[Any], texts: Mapping[int, str]) -> Instance:
    attributes = _attributes(row, _PLACES[Level.IMAGE]) | {"SOPClassUID": identity.sop_class_uid}
    where = location(row, identity, pack, texts)
    return Instance(where.public_id, attributes, where, received=pack.received)
