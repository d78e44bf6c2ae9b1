"""Orthanc REST: the change log.

`since` is exclusive, `to` inclusive, 100 entries when no limit is given. With `to` alone the newest entries up to it
are sent. Deletions are in the index's log and not in this one, as Orthanc has none there.
"""

from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.changes import ChangeLog, ChangePage, ChangeType
from osteon_query.app_state import AppStateDep
from osteon_query.http.errors import BadParameter
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import number
from osteon_query.orthanc.resource_json import timestamp
from osteon_query.orthanc.resource_types import BY_LEVEL

router = APIRouter(tags=["Changes"])

_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 10_000
_SHOWN: Final = tuple(kind for kind in ChangeType if kind is not ChangeType.DELETED)
_NEVER: Final = frozenset({"CompletedSeries", "Deleted", "NewChildInstance"})
"""Types that Orthanc's clients may request and this log does not have."""


@router.get("/changes")
async def changes(request: Request, state: AppStateDep) -> Response:
    """Send a part of the change log."""
    given = request.query_params
    if "last" in given:
        newest = await state.change_log.last_change()
        page = ChangePage([newest] if newest else [], done=True, last=newest.seq if newest else 0)
        return json_response(_object(page))
    since = number("since", given.get("since", "0"))
    to = number("to", given["to"]) if "to" in given else None
    limit = min(number("limit", given.get("limit", "0")) or _DEFAULT_LIMIT, _MAX_LIMIT)
    types = _types(given.get("type", ""))
    if not types:
        return json_response(_object(ChangePage([], done=True, last=since)))
    if to is not None and "since" not in given:
        return json_response(_object(await _newest(state.change_log, to, limit, types)))
    return json_response(_object(await state.change_log.changes(since=since, to=to, limit=limit, types=types)))


def _types(text: str) -> tuple[ChangeType, ...]:
    names = [name for name in text.split(";") if name]
    known = {kind.value: kind for kind in _SHOWN}
    unknown = [name for name in names if name not in known and name not in _NEVER]
    if unknown:
        raise BadParameter(f"type: {unknown[0][:80]!r} is not a type of change")
    return tuple(known[name] for name in names if name in known) if names else _SHOWN


async def _newest(index: ChangeLog, to: int, limit: int, types: tuple[ChangeType, ...]) -> ChangePage:
    """Return the last `limit` entries up to `to`: the log is read from ever further back until there are enough."""
    window = limit
    while True:
        since = max(0, to - window)
        page = await index.changes(since=since, to=to, limit=window, types=types)
        if since == 0 or len(page.changes) >= limit or window >= _MAX_LIMIT * 10:
            kept = page.changes[-limit:]
            return ChangePage(kept, done=len(kept) == len(page.changes) and since == 0, last=page.last)
        window *= 4


def _object(page: ChangePage) -> dict[str, Any]:
    entries = [
        {
            "ChangeType": change.type.value,
            "Date": timestamp(change.date),
            "ID": change.public_id,
            "Path": BY_LEVEL[change.level].path(change.public_id),
            "ResourceType": BY_LEVEL[change.level].type,
            "Seq": change.seq,
        }
        for change in page.changes
    ]
    first = {"First": page.changes[0].seq} if page.changes else {}
    return {"Changes": entries, "Done": page.done, **first, "Last": page.last}
