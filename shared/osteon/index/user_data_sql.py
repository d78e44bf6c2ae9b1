"""User data as SQL conditions of a search."""

from sqlalchemy import ColumnElement, and_, false, not_, or_, select

from osteon.dicom.models import Level
from osteon.dicom.query import LabelFilter, LabelsConstraint
from osteon.index import tables
from osteon.index.user_data_tables import labels


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
