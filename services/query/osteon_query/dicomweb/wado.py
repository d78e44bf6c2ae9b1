"""WADO-RS: studies, series and instances as Part 10 files (PS3.18 10.4.1.1.1)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.resources import InstanceScope
from osteon.objects.port import Bytes
from osteon_query.dicomweb.archives import archive_items
from osteon_query.dicomweb.choice import Choice
from osteon_query.dicomweb.scopes import Found, find, scope_of
from osteon_query.dicomweb.sending import Part, counted, part_of, send_file, send_parts
from osteon_query.http.accept import DICOM, ZIP, Format, Syntaxes, negotiate_instances
from osteon_query.http.context import Door, DoorOf, correlation_id, dicomweb_url
from osteon_query.http.streaming import streamed
from osteon_query.http.validators import not_modified, validators
from osteon_query.packs.converted import PartFile, convert
from osteon_query.packs.zipping import zipped

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_WAY: Final = "wado"
SERIES: Final = "/{study}/series/{series}"
INSTANCE: Final = "/{study}/series/{series}/instances/{instance}"


@router.get("/{study}")
async def retrieve_study(request: Request, door: DoorOf, study: str) -> Response:
    """Send all instances of a study."""
    return await _instances(request, door, scope_of(study))


@router.get(SERIES)
async def retrieve_series(request: Request, door: DoorOf, study: str, series: str) -> Response:
    """Send all instances of a series."""
    return await _instances(request, door, scope_of(study, series))


@router.get(INSTANCE)
async def retrieve_instance(request: Request, door: DoorOf, study: str, series: str, instance: str) -> Response:
    """Send one instance, as multipart, alone, or in an archive."""
    return await _instances(request, door, scope_of(study, series, instance))


async def _instances(request: Request, door: Door, scope: InstanceScope) -> Response:
    wanted = negotiate_instances(request, single=bool(scope.sop_uids))
    found = await find(door.index, scope)
    if not wanted.multipart and not wanted.zipped:
        return await send_instance(request, door, found, wanted.syntaxes, way=_WAY)
    # Weak: the boundary of the parts is another one each time.
    tag = f"W/{found.tag(wanted)}" if found.rest is None else ""
    if known := tag and not_modified(request, tag):
        return known
    choice = Choice(found, wanted.syntaxes)
    headers = validators(tag, *found.first) if tag else {}
    if choice.left_out:
        headers["Warning"] = f'299 {dicomweb_url(request, door)} "{choice.told()}"'
    return await _send(request, door, choice, wanted, headers)


async def _send(request: Request, door: Door, choice: Choice, wanted: Format, headers: dict[str, str]) -> Response:
    status = 206 if choice.left_out else 200
    files = choice.files(door, correlation_id(request))
    if wanted.zipped:
        name = choice.found.first[0].identity.study_uid
        headers |= {"Content-Type": ZIP, "Content-Disposition": f'attachment; filename="{name}.zip"'}
        return await streamed(request, zipped(archive_items(door.sidecars, files)), headers, status)
    known = [part_of(wish.location.transfer_syntax_uid, wish.location.length) for wish in choice.wishes]
    return await send_parts(
        request, _parts(files), DICOM, headers=headers, known=known if choice.as_stored else None, status=status
    )


async def send_instance(request: Request, door: Door, found: Found, syntaxes: Syntaxes, *, way: str) -> Response:
    """Send one instance alone; raises `NotAcceptable` when it can come in none of the transfer syntaxes."""
    (wish,) = Choice(found, syntaxes).wishes
    if not wish.targets:
        return await send_file(request, door.objects, wish.location, way=way)
    tag = found.tag(syntaxes)
    if known := not_modified(request, tag):
        return known
    file = await convert(door.objects, door.transcoder, wish, correlation_id(request))
    if file.transfer_syntax_uid == wish.location.transfer_syntax_uid:
        return await send_file(request, door.objects, wish.location, way=way)
    headers = validators(tag, wish.location) | {
        "Content-Type": f"{DICOM}; transfer-syntax={file.transfer_syntax_uid}",
        "Content-Length": str(file.length),
    }
    metrics.HTTP_ITEMS_SENT.labels(way).inc()
    return await streamed(request, counted(_passing(door, file), way), headers)


async def _passing(door: Door, file: PartFile) -> AsyncGenerator[Bytes, None]:
    """Read a file that nobody else needs, and delete it where it is in the store."""
    try:
        async with aclosing(file.read(door.objects)) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        if file.passing:
            door.transcoder.forget(file.key)


async def _parts(files: AsyncGenerator[PartFile | Bytes, None]) -> AsyncGenerator[Part | Bytes, None]:
    async with aclosing(files):
        async for item in files:
            yield part_of(item.transfer_syntax_uid, item.length) if isinstance(item, PartFile) else item
