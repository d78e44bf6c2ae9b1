"""Contradictions between images: one series in several studies, several names under no Patient ID.

Nothing is refused or changed for that: people are shown it, and decide.
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.resources import SplitSeries, UnidentifiedPatient
from osteon.dicom.identity import format_public_id, parse_public_id, public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.resources import Resources
from osteon.logging import get_logger

log = get_logger(__name__)
_s, _t = tables.series.c, tables.studies.c
_noted = tables.split_series.c.series_instance_uid
_MOST_PARTS: Final = 1_000
_SHOWN_STUDIES: Final = 20


def _is_in_another_study() -> ColumnElement[bool]:
    """Return the condition that another study has a series' UID, too."""
    siblings, ours, theirs = tables.series.alias(), tables.studies.alias(), tables.studies.alias()
    elsewhere = and_(ours.c.id == _s.study, theirs.c.id == siblings.c.study)
    elsewhere = and_(elsewhere, ours.c.study_instance_uid != theirs.c.study_instance_uid)
    return exists().where(siblings.c.series_instance_uid == _s.series_instance_uid, elsewhere)


_SPLIT: Final = (
    select(_s.series_instance_uid)
    .where(_is_in_another_study(), ~exists().where(_noted == _s.series_instance_uid))
    .distinct()
)


async def note_split_series(connection: AsyncConnection, chosen: ColumnElement[bool]) -> None:
    """Note those of new series, chosen by a condition, whose UID is in another study. The change log is locked."""
    added = insert(tables.split_series).from_select([_noted], _SPLIT.where(chosen)).returning(_noted)
    for uid in await connection.scalars(added):
        log.warning("one Series Instance UID is in several studies", series=uid)


def split_series(after: str = "", series_uid: str | None = None) -> Select[Any]:
    """Return the query for the UIDs of series that are in several studies, beyond `after`."""
    still = exists().where(_s.series_instance_uid == _noted, _is_in_another_study()).correlate(tables.split_series)
    chosen = select(_noted).where(_noted > after, still)
    return chosen if series_uid is None else chosen.where(_noted == series_uid)


async def read_split_series(
    connection: AsyncConnection, resources: Resources, chosen: Select[Any], limit: int
) -> list[SplitSeries]:
    """Return series of `split_series` with their parts."""
    found = []
    for uid in list(await connection.scalars(chosen.order_by(_noted).limit(max(limit, 0)))):
        rows = select(_s.id).where(_s.series_instance_uid == uid).order_by(_s.id).limit(_MOST_PARTS)
        parts = await resources.matches(Level.SERIES, list(await connection.scalars(rows)))
        found.append(SplitSeries(uid, tuple(parts)))
    return found


_nameless = (
    select(tables.patients.c.id).where(tables.patients.c.public_id == parse_public_id(public_id(""))).scalar_subquery()
)
_name = func.nullif(_t.patient_name, "").label("patient_name")
_birth_date = func.nullif(_t.patient_birth_date, "").label("patient_birth_date")


def unidentified_patients(limit: int, offset: int = 0) -> Select[Any]:
    """Return the query for names and dates of birth under no Patient ID, with the number of their studies."""
    columns = (_name, _birth_date)
    chosen = select(*columns, func.count().label("studies")).where(_t.patient == _nameless).group_by(*columns)
    return chosen.order_by(*columns).limit(limit).offset(offset)


async def read_unidentified_patients(connection: AsyncConnection, limit: int, offset: int) -> list[UnidentifiedPatient]:
    """Return the names under no Patient ID, when there are several: they need not be one person."""
    rows = list(await connection.execute(unidentified_patients(max(limit, 2), max(offset, 0))))
    if len(rows) < 2 and not offset:
        return []
    found = []
    for row in rows[: max(limit, 0)]:
        same = [
            _name.is_not_distinct_from(row.patient_name),
            _birth_date.is_not_distinct_from(row.patient_birth_date),
        ]
        ids = select(_t.public_id).where(_t.patient == _nameless, *same).order_by(_t.id).limit(_SHOWN_STUDIES)
        studies = tuple(format_public_id(each) for each in await connection.scalars(ids))
        found.append(UnidentifiedPatient(row.patient_name or "", row.patient_birth_date or "", row.studies, studies))
    return found
