"""One file as a response: a Part 10 file as stored, and how a browser treats files out of data sets."""

from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.resources import Location
from osteon.objects.port import Bytes, Objects
from osteon_query.http.accept import DICOM
from osteon_query.http.byte_ranges import send_range
from osteon_query.http.conditional import entity_tag, not_modified, validator_headers
from osteon_query.packs.items import count_bytes
from osteon_query.packs.range_reader import read_range

_SUFFIXES: Final = {
    "application/pdf": ".pdf", "text/xml": ".xml", "model/stl": ".stl", "model/obj": ".obj", "model/mtl": ".mtl",
    "video/mp4": ".mp4", "video/mpeg": ".mpg", "image/jpeg": ".jpg", "image/png": ".png",
}  # fmt: skip
_SHOWN: Final = frozenset({"application/pdf", "video/mp4", "video/mpeg", "image/jpeg", "image/png"})
"""What a browser shows without running anything of it in the archive's origin."""


def content_headers(media_type: str, name: str) -> dict[str, str]:
    """Return the headers with which a browser shows or saves content that came with a data set.

    What could run scripts (HTML, SVG, XML) or is no media type of a browser is saved, as `name` with a suffix.
    """
    shown = media_type in _SHOWN
    filename = f"{name}{_SUFFIXES.get(media_type, '.bin')}"
    headers = {"Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{filename}"'}
    return headers if shown else {**headers, "Content-Security-Policy": "default-src 'none'; sandbox"}


def attachment(filename: str) -> str:
    """Return a Content-Disposition (RFC 6266): browsers store the file instead of showing it."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in filename)
    encoded = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'attachment; filename="{plain}"{encoded}'


async def send_file(
    request: Request, objects: Objects, location: Location, *, purpose: str, filename: str | None = None
) -> Response:
    """Send one Part 10 file as stored, or the requested byte range."""
    tag = entity_tag(location.sha256, location.key, location.offset)
    if known := not_modified(request, tag):
        return known
    headers = {
        **validator_headers(tag, location),
        "Content-Type": f"{DICOM}; transfer-syntax={location.transfer_syntax_uid}",
    }
    if filename is not None:
        headers["Content-Type"] = DICOM
    headers["Content-Disposition"] = attachment(filename or f"{location.identity.sop_uid}.dcm")

    metrics.HTTP_ITEMS_SENT.labels(purpose).inc()

    def source(offset: int, length: int) -> AsyncGenerator[Bytes, None]:
        xxh3 = location.xxh3 if length == location.length else b""
        return count_bytes(read_range(objects, location.key, location.offset + offset, length, xxh3), purpose)

    return await send_range(request, source, location.length, headers)
