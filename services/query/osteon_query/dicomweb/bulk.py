"""WADO-RS bulk data: values of single elements, by a byte range of the pack (PS3.18 10.4.1.1.5).

The path is that of the metadata's BulkDataURI: tags, with the number of the item (from 0) between a sequence and what
is in it. Elements that metadata gives in full have such a path too, when their VR may have bulk data (PS3.18 F.2.2).
"""

from collections.abc import AsyncGenerator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon_query.dicomweb.metadata import lines_of
from osteon_query.dicomweb.scopes import find_one, scope_of
from osteon_query.dicomweb.sending import Part, one_part, send_parts, send_range
from osteon_query.http.accept import OCTETS, media_ranges
from osteon_query.http.context import DoorOf
from osteon_query.http.errors import NotAcceptable, UnknownResource
from osteon_query.http.streaming import Bytes
from osteon_query.http.validators import entity_tag, not_modified, validators
from osteon_query.packs.retrieval import read_range

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])


@router.get("/{study}/series/{series}/instances/{instance}/bulk/{path:path}")
async def bulk_data(  # noqa: PLR0917  (the parameters are those of the URL)
    request: Request, door: DoorOf, study: str, series: str, instance: str, path: str
) -> Response:
    """Send the value of an element as it is in the data set; Range is honoured.

    Encapsulated pixel data come with their item headers; `/frames` gives them frame by frame.
    """
    multipart = _multipart(request)
    location = await find_one(door.index, scope_of(study, series, instance))
    tag = entity_tag(location.sha256, "bulk", path, multipart)
    tag = f"W/{tag}" if multipart else tag
    if known := not_modified(request, tag):
        return known
    line = (await lines_of(door.sidecars, [location]))[0]
    if path not in line.header.bulk:
        raise UnknownResource(f"instance {instance} has no bulk data {path[:200]!r}")
    offset, length = line.header.bulk[path]
    start = location.offset + line.dataset_offset + offset
    kind = f"{OCTETS}; transfer-syntax={location.transfer_syntax_uid}"

    def source(skip: int, size: int) -> AsyncGenerator[Bytes, None]:
        return read_range(door.objects, location.key, start + skip, size)

    headers = validators(tag, location)
    if multipart:
        part = Part(kind, length)
        return await send_parts(request, one_part(source(0, length), part), OCTETS, headers=headers, known=[part])
    return await send_range(request, source, length, {**headers, "Content-Type": kind})


def _multipart(request: Request) -> bool:
    """Whether to send a part (True) or the value alone; raises `NotAcceptable`."""
    for entry in media_ranges(request):
        if entry.takes(OCTETS):
            return entry.multipart
    raise NotAcceptable(f"bulk data is sent as {OCTETS}, alone or in {'multipart/related'}, and Accept has neither")
