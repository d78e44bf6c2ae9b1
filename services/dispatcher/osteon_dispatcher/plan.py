"""Which instances a C-MOVE or C-GET means (PS3.4 C.4.2.2, C.4.3.2, Y.3); answers `PlanRequested`.

Retrieval by the standard wants the unique key of every level above the one that is retrieved, unless relational
retrieval was negotiated. Here they may be given or not, as in searches: a UID says which instances are meant without
them, and those that are given narrow it.
"""

from dataclasses import replace
from typing import Final

from osteon.contracts.retrieve import Plan, PlannedInstance, PlanRequested, RetrieveRequest
from osteon.dicom.identifier import Identifier, read_identifier
from osteon.dicom.keys import describe
from osteon.dicom.query import Condition, Level, OneOf, Search, Single
from osteon.dimse.sop_classes import GET_CLASSES, MOVE_CLASSES
from osteon.errors import Invalid
from osteon.index.port import Index, Location

PAGE: Final = 500
"""Instances of one answer."""
_LEVEL: Final = "QueryRetrieveLevel"
_UNIQUE: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
_MODELS: Final = {
    "1": (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE),
    "2": (Level.STUDY, Level.SERIES, Level.IMAGE),
    "3": (Level.PATIENT, Level.STUDY),
    "4": (Level.IMAGE,),
}
"""Levels of Patient Root, Study Root, Patient/Study Only and Composite Instance Root, by 1.2.840.10008.5.1.4.1.2.x."""
_UID: Final = frozenset("0123456789.")
_LONGEST_UID: Final = 64
_SHOWN: Final = 20


class BadIdentifier(Invalid):
    """An identifier does not say what is meant; the message names the tag."""


async def plan(request: PlanRequested, index: Index) -> Plan:
    """Return a page of what a request means. Raises `Invalid`, `IndexUnavailable`."""
    search = replace(understand(request), limit=PAGE, cursor=request.cursor)
    total = await index.count(search) if request.cursor is None else 0
    page = await index.located(search)
    return Plan(
        correlation_id=request.correlation_id,
        total=total,
        instances=[planned(location) for location in page.locations],
        cursor=page.cursor,
    )


def understand(request: RetrieveRequest) -> Search:
    """Return the search for the instances that an identifier means. Raises `Invalid`."""
    identifier = read_identifier(request.identifier, request.transfer_syntax_uid)
    level = _level(request.sop_class_uid, identifier)
    conditions = []
    for upper in list(Level)[: level.depth + 1]:
        keyword = _UNIQUE[upper]
        values = _values(upper, identifier.text(keyword))
        if values:
            matching = OneOf(tuple(values)) if len(values) > 1 else Single(values[0])
            conditions.append(Condition((keyword,), matching))
        elif upper is level:
            raise BadIdentifier(f"{describe((keyword,))} is missing at level {level.value}")
    return Search(level=Level.IMAGE, conditions=tuple(conditions), case_sensitive=True)


def planned(location: Location) -> PlannedInstance:
    """Return what sending needs of a location."""
    return PlannedInstance(
        sop_class_uid=location.identity.sop_class_uid,
        sop_instance_uid=location.identity.sop_uid,
        transfer_syntax_uid=location.transfer_syntax_uid,
        key=location.key,
        offset=location.offset,
        length=location.length,
        sha256=location.sha256,
    )


def _level(sop_class_uid: str, identifier: Identifier) -> Level:
    if sop_class_uid not in MOVE_CLASSES | GET_CLASSES:
        raise BadIdentifier(f"SOP class {sop_class_uid[:_LONGEST_UID]} is for no retrieval")
    levels = _MODELS[sop_class_uid.split(".")[-2]]
    text = identifier.text(_LEVEL).strip(" \0").upper()
    if text not in levels:
        given = repr(text[:_SHOWN]) if text else "missing"
        raise BadIdentifier(f"{describe((_LEVEL,))} is {given}, not {'/'.join(levels)}")
    return Level(text)


def _values(level: Level, text: str) -> list[str]:
    """Return the values of a unique key, empty when it is absent."""
    values = [value for part in text.split("\\") if (value := part.strip(" \0"))]
    tag = describe((_UNIQUE[level],))
    for value in values:
        if "*" in value or "?" in value:
            raise BadIdentifier(f"{tag}: no wild card here: {value[:_SHOWN]}")
        if level is not Level.PATIENT and (len(value) > _LONGEST_UID or not _UID.issuperset(value)):
            raise BadIdentifier(f"{tag} is no UID: {value[:_SHOWN]}")
    if level is Level.PATIENT and len(values) > 1:
        raise BadIdentifier(f"{tag} has {len(values)} values, not one")
    return values
