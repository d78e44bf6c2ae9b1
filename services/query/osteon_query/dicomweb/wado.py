"""WADO-RS: studies, series and instances as stored, their metadata and bulk data (PS3.18 10.4)."""

from collections.abc import AsyncGenerator
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.index.port import Location, Scope
from osteon_query.dicomweb.metadata import lines_of, metadata
from osteon_query.dicomweb.sending import one_part, send_file, send_parts
from osteon_query.http.accept import DICOM, DICOM_JSON, OCTETS, Format, negotiate, require_json
from osteon_query.http.context import Door, DoorOf, dicomweb_url, uid_of
from osteon_query.http.errors import NotAcceptable, UnknownResource
from osteon_query.http.streaming import byte_range, streamed
from osteon_query.packs.retrieval import read_members, read_range

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_WAY: Final = "wado"
_SERIES: Final = "/{study}/series/{series}"
_INSTANCE: Final = "/{study}/series/{series}/instances/{instance}"


@router.get("/{study}")
async def retrieve_study(request: Request, door: DoorOf, study: str) -> Response:
    """Send all instances of a study (10.4.1.1.1)."""
    return await _instances(request, door, _scope(study))


@router.get(_SERIES)
async def retrieve_series(request: Request, door: DoorOf, study: str, series: str) -> Response:
    """Send all instances of a series."""
    return await _instances(request, door, _scope(study, series))


@router.get(_INSTANCE)
async def retrieve_instance(request: Request, door: DoorOf, study: str, series: str, instance: str) -> Response:
    """Send one instance, as multipart or alone."""
    scope = _scope(study, series, instance)
    wanted = negotiate(request, DICOM, single=True)
    if wanted.multipart:
        return await _multipart(request, door, scope, wanted)
    location = await _one(door, scope)
    _check_syntax(location, wanted)
    return await send_file(request, door.objects, location, way=_WAY)


@router.get("/{study}/metadata")
async def study_metadata(request: Request, door: DoorOf, study: str) -> Response:
    """Send the headers of a study (10.4.1.1.2)."""
    return await _metadata(request, door, _scope(study))


@router.get(_SERIES + "/metadata")
async def series_metadata(request: Request, door: DoorOf, study: str, series: str) -> Response:
    """Send the headers of a series."""
    return await _metadata(request, door, _scope(study, series))


@router.get(_INSTANCE + "/metadata")
async def instance_metadata(request: Request, door: DoorOf, study: str, series: str, instance: str) -> Response:
    """Send the header of one instance."""
    return await _metadata(request, door, _scope(study, series, instance))


@router.get(_INSTANCE + "/bulk/{path:path}")
async def bulk_data(  # noqa: PLR0917  (the parameters are those of the URL)
    request: Request, door: DoorOf, study: str, series: str, instance: str, path: str
) -> Response:
    """Send a value that the metadata leaves out, by a byte range of the pack (10.4.1.1.5). Range is honoured.

    The bytes are those of the data set: encapsulated pixel data come with their item headers.
    """
    wanted = negotiate(request, OCTETS, single=True, default_multipart=False)
    location = await _one(door, _scope(study, series, instance))
    line = (await lines_of(door.sidecars, [location]))[0]
    if path not in line.header.bulk:
        raise UnknownResource(f"instance {instance} has no bulk data {path[:200]!r}")
    offset, length = line.header.bulk[path]
    start = location.offset + line.dataset_offset + offset
    kind = f"{OCTETS}; transfer-syntax={location.transfer_syntax_uid}"
    if wanted.multipart:
        whole = read_range(door.objects, location.key, start, length)
        return await send_parts(request, one_part(whole, kind), OCTETS)
    part = byte_range(request, length)
    source = read_range(door.objects, location.key, start + part.offset, part.length)
    return await streamed(request, source, {**part.headers, "Content-Type": kind}, part.status)


def _scope(study: str, series: str | None = None, instance: str | None = None) -> Scope:
    return Scope(
        study_uid=uid_of("the study", study),
        series_uid=None if series is None else uid_of("the series", series),
        sop_uids=() if instance is None else (uid_of("the instance", instance),),
    )


async def _one(door: Door, scope: Scope) -> Location:
    async for location in door.index.locate(scope):
        return location
    raise _unknown(scope)


def _unknown(scope: Scope) -> UnknownResource:
    parts = ["study " + str(scope.study_uid)]
    parts += ["series " + scope.series_uid] if scope.series_uid else []
    parts += ["instance " + uid for uid in scope.sop_uids]
    return UnknownResource(f"the archive does not hold {', '.join(parts)}")


async def _known(door: Door, scope: Scope) -> AsyncGenerator[Location, None]:
    """Yield the locations of a scope; raises `UnknownResource` when there are none."""
    empty = True
    async for location in door.index.locate(scope):
        empty = False
        yield location
    if empty:
        raise _unknown(scope)


async def _instances(request: Request, door: Door, scope: Scope) -> Response:
    return await _multipart(request, door, scope, negotiate(request, DICOM, single=False))


async def _multipart(request: Request, door: Door, scope: Scope, wanted: Format) -> Response:
    if wanted.transfer_syntaxes is not None:
        async for location in door.index.locate(scope):
            _check_syntax(location, wanted)
    items = read_members(door.objects, _known(door, scope), way=_WAY)
    return await send_parts(request, items, DICOM)


def _check_syntax(location: Location, wanted: Format) -> None:
    stored = location.transfer_syntax_uid
    if wanted.transfer_syntaxes is not None and stored not in wanted.transfer_syntaxes:
        asked = ", ".join(sorted(wanted.transfer_syntaxes))
        raise NotAcceptable(
            f"instance {location.identity.sop_uid} is stored in transfer syntax {stored} and is sent as stored only; "
            f"Accept asks for {asked[:500]}. Accept transfer-syntax=* to take it"
        )


async def _metadata(request: Request, door: Door, scope: Scope) -> Response:
    require_json(request)
    source = metadata(door.sidecars, _known(door, scope), dicomweb_url(request, door))
    return await streamed(request, source, {"Content-Type": DICOM_JSON})
