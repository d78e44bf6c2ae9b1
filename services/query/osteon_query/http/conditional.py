"""Entity tags and conditional requests (RFC 9110 8.8, 13.1).

An instance's bytes never change under its SHA-256, so a tag is a digest of what the response is made of. Responses
contain patient data: only the client itself may cache them, and revalidates each time.
"""

import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location

_CACHE_CONTROL: Final = "private, no-cache"
_HEXADECIMAL: Final = 16


def entity_tag(*facts: object) -> str:
    """Return a strong tag of all that decides about the bytes of a response."""
    digest = hashlib.blake2b(digest_size=16)
    for fact in facts:
        data = fact if isinstance(fact, bytes) else str(fact).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return f'"{digest.hexdigest()}"'


def validator_headers(tag: str, *locations: Location) -> dict[str, str]:
    """Return the headers that go with a tag, with the time when the youngest pack of `locations` came in."""
    headers = {"ETag": tag, "Cache-Control": _CACHE_CONTROL, "Vary": "Accept"}
    moments = [moment for location in locations if (moment := _received_at(location.key)) is not None]
    if moments:
        headers["Last-Modified"] = format_datetime(max(moments), usegmt=True)
    return headers


def not_modified(request: Request, tag: str) -> Response | None:
    """Return the response 304 when the client has what `tag` names."""
    given = request.headers.get("if-none-match", "")
    known = {each.strip().removeprefix("W/") for each in given.split(",")}
    if tag.removeprefix("W/") in known or given.strip() == "*":
        return Response(None, 304, {"ETag": tag, "Cache-Control": _CACHE_CONTROL, "Vary": "Accept"})
    return None


def _received_at(key: str) -> datetime | None:
    """Return when a pack was begun: its name is a UUID version 7 (RFC 9562 5.7)."""
    name = key.rpartition("/")[2].removesuffix(".tar")
    try:
        milliseconds = int(name[:12], _HEXADECIMAL)
        return datetime.fromtimestamp(milliseconds // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
