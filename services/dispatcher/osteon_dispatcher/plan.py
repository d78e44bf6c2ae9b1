"""Which instances a C-MOVE or C-GET means (PS3.4 C.4.2.2, C.4.3.2, Y.3); answers `RetrievePlanRequest`.

Retrieval by the standard wants the unique key of every level above the one that is retrieved, unless relational
retrieval was negotiated. Here they may be given or not, as in searches: a UID says which instances are meant without
them, and those that are given narrow it.
"""

from dataclasses import replace
from typing import Final

from osteon.archive.ports import ResourceSearch
from osteon.contracts.retrieve import RetrievePlanReply, RetrievePlanRequest, RetrieveRequestBase
from osteon.dicom.attribute_names import describe
from osteon.dicom.identifier import Identifier, read_identifier
from osteon.dicom.models import GET_MODELS, MOVE_MODELS, UNIQUE_KEYS, Level
from osteon.dicom.query import MatchingKey, OneOf, Search, Single
from osteon.dicom.uids import MAX_UID_LENGTH, is_uid
from osteon.errors import Invalid
from osteon.sending.planned import from_location

PAGE: Final = 500
"""Instances of one answer."""
_LEVEL: Final = "QueryRetrieveLevel"
_SHOWN: Final = 20


class BadIdentifier(Invalid):
    """An identifier does not say what is meant; the message names the tag."""


async def plan(request: RetrievePlanRequest, index: ResourceSearch) -> RetrievePlanReply:
    """Return a page of what a request means. Raises `Invalid`, `DatabaseUnavailable`."""
    search = replace(parse_retrieve_identifier(request), limit=PAGE, cursor=request.cursor)
    total = await index.count(search) if request.cursor is None else 0
    page = await index.search_locations(search)
    return RetrievePlanReply(
        correlation_id=request.correlation_id,
        total=total,
        instances=[from_location(location) for location in page.locations],
        cursor=page.cursor,
    )


def parse_retrieve_identifier(request: RetrieveRequestBase) -> Search:
    """Return the search for the instances that an identifier means. Raises `Invalid`."""
    identifier = read_identifier(request.identifier, request.transfer_syntax_uid)
    level = _level(request.sop_class_uid, identifier)
    conditions = []
    for upper in (each for each in Level if not each.is_below(level)):
        keyword = UNIQUE_KEYS[upper]
        values = _values(upper, identifier.text(keyword))
        if values:
            matching = OneOf(tuple(values)) if len(values) > 1 else Single(values[0])
            conditions.append(MatchingKey((keyword,), matching))
        elif upper is level:
            raise BadIdentifier(f"{describe((keyword,))} is missing at level {level.value}")
    return Search(level=Level.IMAGE, conditions=tuple(conditions), case_sensitive=True, one_per_uid=True)


def _level(sop_class_uid: str, identifier: Identifier) -> Level:
    model = MOVE_MODELS.get(sop_class_uid) or GET_MODELS.get(sop_class_uid)
    if model is None:
        raise BadIdentifier(f"SOP class {sop_class_uid[:MAX_UID_LENGTH]} is not for retrieval")
    text = identifier.text(_LEVEL).strip(" \0").upper()
    if text not in model.levels:
        given = repr(text[:_SHOWN]) if text else "missing"
        raise BadIdentifier(f"{describe((_LEVEL,))} is {given}, not {'/'.join(model.levels)}")
    return Level(text)


def _values(level: Level, text: str) -> list[str]:
    """Return the values of a unique key, empty when it is absent."""
    values = [value for part in text.split("\\") if (value := part.strip(" \0"))]
    tag = describe((UNIQUE_KEYS[level],))
    for value in values:
        if "*" in value or "?" in value:
            raise BadIdentifier(f"{tag}: wild cards are not allowed: {value[:_SHOWN]}")
        if level is not Level.PATIENT and not is_uid(value):
            raise BadIdentifier(f"{tag} is not a UID: {value[:_SHOWN]}")
    if level is Level.PATIENT and len(values) > 1:
        raise BadIdentifier(f"{tag} has {len(values)} values, not one")
    return values
