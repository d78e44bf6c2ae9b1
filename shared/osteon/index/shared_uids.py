"""Studies and series whose UID images of several patients have (PS3.4 C.2.2.1.1: a unique key identifies one entity).

Rows are one per patient and UID, as Orthanc's identifiers want it. A row that was not the first with its UID is marked.
To DICOM searches the rows of one UID are one study or series.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.util import ClauseAdapter

from osteon.archive.resources import Match, Series, SplitStudy, Study
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.contradictions import note_split_series
from osteon.index.resources import Resources
from osteon.logging import get_logger

log = get_logger(__name__)
_s, _t = tables.series.c, tables.studies.c
_shared = tables.studies.alias()
HAS_SHARED_UIDS: Final = select(_shared.c.id).where(_shared.c.shared_uid).limit(1).scalar_subquery()
"""A column that is not null if any rows of the archive have one UID, whatever rows a statement is about."""
_CHUNK: Final = 1000


def _has_sibling() -> ColumnElement[bool]:
    """Return the condition that another row has a study's UID."""
    others = tables.studies.alias()
    return exists().where(others.c.study_instance_uid == _t.study_instance_uid, others.c.id != _t.id)


def _has_sibling_in_study() -> ColumnElement[bool]:
    """Return the condition that another row has a series' UID, and that of its study."""
    siblings, ours, theirs = tables.series.alias(), tables.studies.alias(), tables.studies.alias()
    one_study = and_(ours.c.id == _s.study, theirs.c.id == siblings.c.study)
    one_study = and_(one_study, ours.c.study_instance_uid == theirs.c.study_instance_uid)
    return exists().where(siblings.c.series_instance_uid == _s.series_instance_uid, siblings.c.id != _s.id, one_study)


# Made once: an alias copies all columns of its table, which took longer than to index a small pack.
_MARK_STUDIES: Final = (
    update(tables.studies).where(_has_sibling()).values(shared_uid=True).returning(_t.study_instance_uid)
)
_MARK_SERIES: Final = update(tables.series).where(_has_sibling_in_study()).values(shared_uid=True)


async def mark_shared_uids(connection: AsyncConnection, studies: Sequence[bytes], series: Sequence[bytes]) -> None:
    """Mark new rows, by their public identifiers, whose UID another row has.

    The caller holds the lock of the change log: of two writers that add rows under one UID, the later one sees both.
    """
    for start in range(0, len(studies), _CHUNK):
        mark = _MARK_STUDIES.where(_t.public_id.in_(studies[start : start + _CHUNK]))
        for uid in await connection.scalars(mark):
            log.warning("images of several patients have one Study Instance UID", study=uid)
    for start in range(0, len(series), _CHUNK):
        chunk = _s.public_id.in_(series[start : start + _CHUNK])
        await connection.execute(_MARK_SERIES.where(chunk))
        await note_split_series(connection, chunk)


def is_first_match(level: Level, joined: Any, clauses: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    """Return the condition that no earlier row with the same UID matches; `joined` are the tables of the search.

    A marked row comes after one that is not; among marked ones the order is that of their ids.
    """
    table = tables.TABLE_OF[level]
    aliases = {each: each.alias() for each in (tables.patients, tables.studies, tables.series)}
    other = aliases[table]
    if level is Level.STUDY:
        same = [other.c.study_instance_uid == _t.study_instance_uid]
    else:
        ours, theirs = tables.studies.alias(), tables.studies.alias()  # the search need not have joined them
        one_study = and_(ours.c.id == _s.study, theirs.c.id == other.c.study)
        one_study = and_(one_study, ours.c.study_instance_uid == theirs.c.study_instance_uid)
        same = [other.c.series_instance_uid == _s.series_instance_uid, exists().where(one_study)]
    earlier = or_(not_(other.c.shared_uid), other.c.id < table.c.id)
    source, adapted = joined, list(clauses)
    for each, alias in aliases.items():
        adapter = _Adapter(each, alias)
        source, adapted = adapter.traverse(source), [adapter.traverse(clause) for clause in adapted]
    matching = select(other.c.id).select_from(source).where(*same, earlier, *adapted).correlate(table)
    return or_(not_(table.c.shared_uid), not_(matching.exists()))


def of_any_patient(clause: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a study's row, or another one with its UID, fulfils one on the patient."""
    other = tables.studies.alias()
    fits = _Adapter(tables.studies, other).traverse(clause)
    same = and_(other.c.study_instance_uid == _t.study_instance_uid, other.c.id != _t.id)
    return or_(clause, exists().where(same, fits).correlate(tables.studies))


class _Adapter(ClauseAdapter):
    """Puts an alias in the place of a table, and leaves other aliases of it alone."""

    def __init__(self, table: Any, alias: Any) -> None:
        super().__init__(alias, include_fn=lambda each: getattr(each, "table", each) is table)


async def merged(connection: AsyncConnection, resources: Resources, matches: Sequence[Match]) -> list[Match]:
    """Give matches the sums of all rows that have the UIDs of their study and series."""
    uids = {match.study.attributes["StudyInstanceUID"] for match in matches if match.study}
    shared = await connection.scalars(
        select(_t.study_instance_uid).where(_t.shared_uid, _t.study_instance_uid.in_(uids)).distinct()
    )
    contested = set(shared) if uids else set()
    if not contested:
        return list(matches)
    studies = await _studies(connection, resources, contested)
    series = await _series(connection, contested) if any(match.series for match in matches) else {}
    return [_merged(match, studies, series) for match in matches]


async def _studies(connection: AsyncConnection, resources: Resources, uids: set[str]) -> dict[str, Study]:
    """Return each study as one: what differs is of the first row."""
    parts: dict[str, list[Study]] = defaultdict(list)
    for match in await resources.matches(Level.STUDY, await _rows_of(connection, uids)):
        if match.study:
            parts[match.study.attributes["StudyInstanceUID"]].append(match.study)
    counted = select(_t.study_instance_uid, func.count(_s.series_instance_uid.distinct()))
    counted = counted.join_from(tables.studies, tables.series, _s.study == _t.id)
    found = await connection.execute(counted.where(_t.study_instance_uid.in_(uids)).group_by(_t.study_instance_uid))
    numbers = {str(row[0]): int(row[1]) for row in found}
    return {
        uid: replace(
            rows[0],
            modalities=tuple(sorted({each for row in rows for each in row.modalities})),
            sop_classes=tuple(sorted({each for row in rows for each in row.sop_classes})),
            series=numbers.get(uid, 0),
            instances=sum(row.instances for row in rows),
            size=sum(row.size for row in rows),
            updated=max(row.updated for row in rows),
            stable=all(row.stable for row in rows),
        )
        for uid, rows in parts.items()
    }


async def _series(connection: AsyncConnection, uids: set[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return instances and bytes of each series of studies, by the UIDs of both."""
    summed = select(_t.study_instance_uid, _s.series_instance_uid, func.sum(_s.instances), func.sum(_s.size)).join_from(
        tables.studies, tables.series, _s.study == _t.id
    )
    found = await connection.execute(
        summed.where(_t.study_instance_uid.in_(uids)).group_by(_t.study_instance_uid, _s.series_instance_uid)
    )
    return {(study, series): (int(instances), int(size)) for study, series, instances, size in found}


def _merged(match: Match, studies: dict[str, Study], sums: dict[tuple[str, str], tuple[int, int]]) -> Match:
    if match.study is None or (whole := studies.get(match.study.attributes["StudyInstanceUID"])) is None:
        return match
    study = replace(
        whole,
        public_id=match.study.public_id,
        attributes=match.study.attributes,
        patient_attributes=match.study.patient_attributes,
    )
    series: Series | None = match.series
    if series:
        uids = study.attributes["StudyInstanceUID"], series.attributes["SeriesInstanceUID"]
        instances, size = sums.get(uids, (series.instances, series.size))
        series = replace(series, instances=instances, size=size)
    return replace(match, study=study, series=series)


def split_studies(after: str = "", study_uid: str | None = None) -> Select[Any]:
    """Return the query for the UIDs of studies that are in several rows, beyond `after`."""
    chosen = (
        select(_t.study_instance_uid).where(_t.shared_uid, _t.study_instance_uid > after, _has_sibling()).distinct()
    )
    return chosen if study_uid is None else chosen.where(_t.study_instance_uid == study_uid)


async def read_split_studies(
    connection: AsyncConnection, resources: Resources, chosen: Select[Any], limit: int
) -> list[SplitStudy]:
    """Return studies of `split_studies` with their parts."""
    ordered = chosen.order_by(_t.study_instance_uid).limit(max(limit, 0))
    parts: dict[str, list[Match]] = {str(uid): [] for uid in await connection.scalars(ordered)}
    for match in await resources.matches(Level.STUDY, await _rows_of(connection, parts.keys())):
        if match.study:
            parts[match.study.attributes["StudyInstanceUID"]].append(match)
    return [SplitStudy(uid, tuple(found)) for uid, found in parts.items()]


async def _rows_of(connection: AsyncConnection, uids: Collection[str]) -> list[int]:
    """Return the rows of studies, the first of each before the others."""
    chosen = select(_t.id).where(_t.study_instance_uid.in_(uids)).order_by(_t.shared_uid, _t.id)
    return list(await connection.scalars(chosen)) if uids else []
