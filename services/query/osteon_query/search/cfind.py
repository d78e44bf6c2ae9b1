"""Replies to `FindPageRequest` with one page of a C-FIND (PS3.4 C.4.1.3).

Hierarchical search by the standard wants the unique key of every level above the one searched. Here all keys at or
above the level may be given, or not, whether relational queries were negotiated or not: Orthanc and other archives
answer so, and requesters that know only a SOP Instance UID depend on it. The strict way would refuse, never find more.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone
from typing import Any, Final

from osteon.archive.ports import ArchiveReader
from osteon.contracts.find import FindPageReply, FindPageRequest
from osteon.dicom.attribute_names import tag_of
from osteon.dicom.attributes import LEVEL_OF, REQUEST_ATTRIBUTES, is_below
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.datetime_bounds import parse_offset
from osteon.dicom.identifier import Identifier, IdentifierKey, TooManyKeys, read_identifier
from osteon.dicom.matching import combine_datetimes, condition
from osteon.dicom.models import FIND_MODELS, Level
from osteon.dicom.query import DateTimeRange, MatchingKey, Search
from osteon.dicom.text_encoder import UNICODE, text_encoder_for
from osteon.errors import Invalid
from osteon.metrics import SEARCH_SECONDS
from osteon_query.packs.sidecars import Sidecars
from osteon_query.search.conditions import SearchLimits
from osteon_query.search.results import build_results, matches_at_once
from osteon_query.search.return_keys import ReturnKeys
from osteon_query.search.timezone_adjustment import TimezoneConditions, adjust

_LEVEL: Final = "QueryRetrieveLevel"
_TIMEZONE: Final = "TimezoneOffsetFromUTC"
_NEVER_MATCHED: Final = frozenset({_LEVEL, _TIMEZONE, "SpecificCharacterSet", "QueryRetrieveView"})


_LIMITS: Final = SearchLimits()


class WrongModel(Invalid):
    """The identifier does not fit its SOP class: its level is missing, unknown, or not one of the model."""


@dataclass(frozen=True, slots=True)
class Query:
    """A C-FIND's identifier, understood. `all_supported` is false when some key was not matched (0xFF01)."""

    level: Level
    conditions: tuple[MatchingKey | DateTimeRange, ...]
    return_keys: ReturnKeys
    charset: tuple[str, ...]
    zone: timezone | None
    all_supported: bool


async def handle_find(
    request: FindPageRequest,
    index: ArchiveReader,
    sidecars: Sidecars,
    *,
    page: int,
    limits: SearchLimits = _LIMITS,
) -> FindPageReply:
    """Return a page of at most `page` matches, fewer when they have many keys. Raises `Invalid`, `Unavailable`.

    A page may have fewer matches, even none, and still a cursor.
    """
    start = time.perf_counter()
    try:
        return await _find(request, index, sidecars, page, limits)
    finally:
        SEARCH_SECONDS.labels("c-find").observe(time.perf_counter() - start)


async def _find(
    request: FindPageRequest, index: ArchiveReader, sidecars: Sidecars, page: int, limits: SearchLimits
) -> FindPageReply:
    query = parse_identifier(request, limits)
    encoder = DatasetEncoder(request.transfer_syntax_uid, text_encoder_for(query.charset) or UNICODE)
    adjusted = adjust(query.conditions, query.zone, query.level) if query.zone else TimezoneConditions(query.conditions)
    found = await index.search(
        Search(
            level=query.level,
            conditions=adjusted.conditions,
            fuzzy=request.fuzzy,
            case_sensitive=True,
            one_per_uid=True,
            limit=min(page, matches_at_once(query.return_keys)),
            cursor=request.cursor,
        )
    )
    matches = [match for match in found.matches if adjusted.accepts(match)]
    constants: Mapping[str, Any] = {
        tag_of(_LEVEL): {"vr": "CS", "Value": [query.level.value]},
        tag_of("RetrieveAETitle"): {"vr": "AE", "Value": [request.called_aet]},
    }
    answered = await build_results(matches, query.return_keys, index=index, sidecars=sidecars, constants=constants)
    return FindPageReply(
        correlation_id=request.correlation_id,
        identifiers=await asyncio.to_thread(lambda: [encoder.encode(answer) for answer in answered]),
        keys_ignored=not query.all_supported,
        cursor=found.cursor,
    )


def parse_identifier(request: FindPageRequest, limits: SearchLimits = _LIMITS) -> Query:
    """Read a request's identifier; raises an `Invalid` that says what is wrong with it."""
    try:
        identifier = read_identifier(request.identifier, request.transfer_syntax_uid, limits.keys)
    except TooManyKeys as error:
        raise TooManyKeys(f"{error} (OSTEON_QUERY_MAX_KEYS)") from None
    level = _level(request.sop_class_uid, identifier)
    conditions: list[MatchingKey] = []
    all_supported, given = True, 0
    for key in identifier.keys:
        if key.text is None or key.path[0] in _NEVER_MATCHED:
            continue
        matching_key = condition(key.path, key.text, vr=key.vr, max_values=limits.values)
        given += matching_key is not None
        limits.check(matching_keys=given)
        if _below(level, key) or (matching_key is not None and not _is_matchable(matching_key)):
            all_supported = False
        elif matching_key is not None:
            conditions.append(matching_key)
    return Query(
        level=level,
        conditions=combine_datetimes(conditions, negotiated=request.combined_datetime),
        return_keys=_return_keys(identifier, conditions, request.timezone),
        charset=identifier.charset,
        zone=parse_offset(identifier.text(_TIMEZONE)) if request.timezone else None,
        all_supported=all_supported,
    )


def _level(sop_class_uid: str, identifier: Identifier) -> Level:
    model = FIND_MODELS.get(sop_class_uid)
    if model is None:
        raise WrongModel(f"SOP class {sop_class_uid[:64]} is not a C-FIND model")
    text = identifier.text(_LEVEL).strip(" \0").upper()
    if text not in model.levels:
        given = repr(text[:16]) if text else "missing"
        raise WrongModel(f"(0008,0052) is {given}, not {'/'.join(model.levels)}")
    return Level(text)


def _below(level: Level, key: IdentifierKey) -> bool:
    if key.path[0] == "RequestAttributesSequence":
        return Level.SERIES.is_below(level)
    return is_below(key.path[0], level)


def _is_matchable(matching_key: MatchingKey) -> bool:
    """Whether the index matches on this key; that it is at or above the level is known."""
    if len(matching_key.path) == 2:
        return matching_key.path[0] == "RequestAttributesSequence" and matching_key.path[1] in REQUEST_ATTRIBUTES
    return len(matching_key.path) == 1 and matching_key.path[0] in LEVEL_OF


def _return_keys(identifier: Identifier, conditions: Sequence[MatchingKey], timezone_negotiated: bool) -> ReturnKeys:
    # Group 0002 is of files, not of data sets, and an answer has none (PS3.10 7.1).
    required = {key.tags[0] for key in identifier.keys if not key.tags[0].startswith("0002")} - {tag_of(_LEVEL)}
    items: dict[str, set[str]] = {}
    for key in identifier.keys:
        if len(key.tags) > 1:
            items.setdefault(key.tags[0], set()).add(key.tags[1])
    known = {tag_of(_TIMEZONE)} if timezone_negotiated else set()
    return ReturnKeys(
        required=frozenset(required),
        optional=frozenset(known),
        items={tag: frozenset(within) for tag, within in items.items()},
        item_conditions=tuple(c for c in conditions if len(c.path) == 2),
    )
