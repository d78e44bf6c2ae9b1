"""User data as SQL conditions and orders of a search."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, false, not_, or_, select

from osteon.dicom.models import Level
from osteon.dicom.query import LabelFilter, LabelsConstraint, MetadataKey, Search
from osteon.index import tables
from osteon.index.matching_sql import ColumnMatcher
from osteon.index.user_data_tables import labels, resource_metadata


def has_labels(level: Level, wanted: LabelFilter) -> ColumnElement[bool]:
    """Return the condition that a resource of a level has labels, or has none of them."""
    row = tables.TABLE_OF[level].c.public_id
    each = [
        row.in_(select(labels.c.public_id).where(labels.c.label == label, labels.c.level == level.depth))
        for label in wanted.labels
    ]
    match wanted.constraint:
        case LabelsConstraint.ALL:
            return and_(*each)
        case LabelsConstraint.ANY:
            return or_(false(), *each)
        case LabelsConstraint.NONE:
            return not_(or_(false(), *each))


def has_metadata(level: Level, wanted: MetadataKey, matcher: ColumnMatcher) -> ColumnElement[bool]:
    """Return the condition that a resource of a level has metadata that match."""
    c = resource_metadata.c
    fits = matcher.text(c.value, c.key, wanted.matching)
    found = select(c.public_id).where(c.code == wanted.code, c.level == level.depth, fits)
    return tables.TABLE_OF[level].c.public_id.in_(found)


def sorted_metadata(search: Search) -> dict[int, FromClause]:
    """Return a table for each code that a search sorts by, for `join_metadata` and the order."""
    return {order.metadata: resource_metadata.alias() for order in search.order if order.metadata is not None}


def join_metadata(joined: Any, level: Level, by_code: dict[int, FromClause]) -> Any:
    """Join the metadata that are sorted by; resources without them stay."""
    row = tables.TABLE_OF[level].c.public_id
    for code, table in by_code.items():
        same = and_(table.c.code == code, table.c.level == level.depth, table.c.public_id == row)
        joined = joined.outerjoin(table, same)
    return joined
