"""One Part 10 file as a response, as stored."""

from collections.abc import AsyncGenerator

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


def attachment(filename: str) -> str:
    """Return a Content-Disposition (RFC 6266): browsers store the file instead of showing it."""
    return f'attachment; filename="{filename}"'


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
        return count_bytes(read_range(objects, location.key, location.offset + offset, length), purpose)

    return await send_range(request, source, location.length, headers)
