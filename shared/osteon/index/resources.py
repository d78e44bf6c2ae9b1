"""Rows of the four levels as the port's resources: a page of matches in one statement a level."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, Table, Text, cast, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.resources import Instance, Match, Patient, Series, Study
from osteon.contracts.packs import Origin
from osteon.dicom.identity import Identity, format_public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.fields import LEVEL_FIELDS
from osteon.index.locations import location
from osteon.index.rule_tables import growing
from osteon.index.uids import Uids

_STUDY: Final = Level.STUDY
_Rows = Mapping[int, Row[Any]]


class Resources:
    """Reads resources with all that is above them. A statement costs more than its rows, so there are few."""

    def __init__(self, connection: AsyncConnection, dialect: Dialect, uids: Uids) -> None:
        self._connection = connection
        self._among = dialect.among
        self._uids = uids

    async def matches(self, level: Level, ids: Sequence[int]) -> list[Match]:
        """Return the resources of rows, in the order of `ids`."""
        if not ids:
            return []
        rows: dict[Level, _Rows] = {level: await self._rows(level, ids)}
        for lower in reversed(list(Level)[_STUDY.depth + 1 : level.depth + 1]):
            upper = list(Level)[lower.depth - 1]
            above = {getattr(row, tables.PARENT_OF[lower]) for row in rows[lower].values()}
            rows[upper] = await self._rows(upper, above)
        with_patients = Level.PATIENT if level is Level.PATIENT else _STUDY
        patients = {row.of_patient_id: _patient(row, _PATIENT[with_patients]) for row in rows[with_patients].values()}
        studies = await self._studies(rows.get(_STUDY, {}))
        series = await self._series(rows.get(Level.SERIES, {}))
        instances = await self._instances(rows)
        chain: list[Mapping[int, Any]] = [patients, studies, series, instances]
        steps = [
            (rows.get(step, {}), tables.PARENT_OF.get(step, ""), chain[step.depth])
            for step in list(Level)[level.depth :: -1]
        ]
        return [_match(level, row, steps) for row in ids if row in rows[level]]

    async def _rows(self, level: Level, ids: Iterable[int]) -> _Rows:
        table = tables.TABLE_OF[level]
        found = await self._connection.execute(_SELECTS[level].where(self._among(table.c.id, list(ids))))
        return {row[0]: row for row in found}

    async def _studies(self, rows: _Rows) -> dict[int, Study]:
        numbers = {k: [int(number) for number in _split(row.sop_classes)] for k, row in rows.items()}
        texts = await self._uids.texts(
            self._connection, {number for of_study in numbers.values() for number in of_study}
        )
        return {k: _study(row, sorted(texts[number] for number in numbers[k])) for k, row in rows.items()}

    async def _series(self, rows: _Rows) -> dict[int, Series]:
        c = tables.series_requests.c
        requests: dict[int, list[tuple[str, str]]] = defaultdict(list)
        requested = [k for k, row in rows.items() if row.requested]
        if requested:
            found = select(c.series, c.scheduled_procedure_step_id, c.requested_procedure_id).where(
                self._among(c.series, requested)
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


def _stable(level: Level, table: Table) -> ColumnElement[bool]:
    return ~exists().where(growing.c.level == level.depth, growing.c.public_id == table.c.public_id)


def _joined(column: ColumnElement[Any], owner: ColumnElement[int]) -> ColumnElement[str]:
    """Return the values of a table below studies, joined."""
    return (
        select(func.aggregate_strings(cast(column, Text), "\\")).where(owner == tables.studies.c.id).scalar_subquery()
    )


def _split(joined: str | None) -> set[str]:
    return set(filter(None, joined.split("\\"))) if joined else set()


def _selects() -> dict[Level, Select[Any]]:
    """Return what is read of each level, without keys of searches: a study with its patient and what is below."""
    own = {level: [c for c in table.c if not c.name.endswith("_key")] for level, table in tables.TABLE_OF.items()}
    patient = [
        *(column.label(f"of_patient_{column.name}") for column in own[Level.PATIENT]),
        _stable(Level.PATIENT, tables.patients).label("of_patient_stable"),
    ]
    classes, requests = tables.study_sop_classes.c, tables.series_requests.c
    study = (
        *own[_STUDY], _stable(_STUDY, tables.studies).label("stable"),
        _joined(tables.series.c.modality, tables.series.c.study).label("modalities"),
        _joined(classes.sop_class, classes.study).label("sop_classes"), *patient,
    )  # fmt: skip
    requested = exists().where(requests.series == tables.series.c.id).label("requested")
    return {
        Level.PATIENT: select(*patient),
        _STUDY: select(*study).join_from(tables.studies, tables.patients),
        Level.SERIES: select(*own[Level.SERIES], _stable(Level.SERIES, tables.series).label("stable"), requested),
        Level.IMAGE: select(tables.instances),
    }


_SELECTS: Final = _selects()


def _places(level: Level, level_read: Level, prefix: str = "") -> tuple[tuple[str, int], ...]:
    """Return the keywords of a level that are read with a level, with their places in the rows.

    The text of a number comes after the number, and replaces it where there is one.
    """
    names = _SELECTS[level_read].selected_columns.keys()
    columns = ((f.keyword, column) for f in LEVEL_FIELDS[level] for column in f.columns if column != f.key)
    fields = ((keyword, f"{prefix}{column}") for keyword, column in columns)
    return tuple((keyword, names.index(name)) for keyword, name in fields if name in names)


_PLACES: Final = {level: _places(level, level) for level in Level}
_PATIENT_OF_STUDY: Final = _places(Level.PATIENT, _STUDY)
_PATIENT: Final = {level: _places(Level.PATIENT, level, "of_patient_") for level in (Level.PATIENT, _STUDY)}


def _attributes(row: Row[Any], places: Sequence[tuple[str, int]]) -> dict[str, str]:
    # By place, as looking up names takes most of the time of a large page.
    return {keyword: str(value) for keyword, place in places if (value := row[place]) is not None}


def _patient(row: Row[Any], places: Sequence[tuple[str, int]]) -> Patient:
    return Patient(
        format_public_id(row.of_patient_public_id), _attributes(row, places), studies=row.of_patient_studies,
        series=row.of_patient_series, instances=row.of_patient_instances, size=row.of_patient_size,
        updated=row.of_patient_updated, stable=row.of_patient_stable,
    )  # fmt: skip


def _study(row: Row[Any], sop_classes: list[str]) -> Study:
    return Study(
        format_public_id(row.public_id), _attributes(row, _PLACES[_STUDY]), _attributes(row, _PATIENT_OF_STUDY),
        tuple(sorted(_split(row.modalities))), tuple(sop_classes), series=row.series, instances=row.instances,
        size=row.size, updated=row.updated, stable=row.stable,
    )  # fmt: skip


def _one_series(row: Row[Any], requests: list[tuple[str, str]]) -> Series:
    return Series(
        format_public_id(row.public_id), _attributes(row, _PLACES[Level.SERIES]), tuple(requests),
        instances=row.instances, size=row.size, updated=row.updated, stable=row.stable,
    )  # fmt: skip


def _instance(row: Row[Any], identity: Identity, pack: Row[Any], texts: Mapping[int, str]) -> Instance:
    attributes = _attributes(row, _PLACES[Level.IMAGE]) | {"SOPClassUID": identity.sop_class_uid}
    where = location(row, identity, pack, texts)
    return Instance(
        where.public_id, attributes, where, pack.received, Origin(pack.origin), pack.calling_aet, pack.remote_host
    )
