"""What every route works with, and how it gets it."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request

from osteon.bus.port import Bus
from osteon.dicom.identity import parse_public_id
from osteon.dicom.uids import is_uid
from osteon.errors import Invalid
from osteon.index.port import Index
from osteon.objects.port import Objects
from osteon.sending.transcoder import Transcoder
from osteon_query.http.errors import BadParameter, UnknownResource
from osteon_query.images.asking import Pictures
from osteon_query.packs.sidecars import Sidecars
from osteon_query.packs.uploads import Uploads
from osteon_query.settings import QueryBaseSettings

_PROXIED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Door:
    """The ports and settings behind the HTTP routes."""

    settings: QueryBaseSettings
    bus: Bus
    index: Index
    objects: Objects
    sidecars: Sidecars
    uploads: Uploads
    transcoder: Transcoder
    pictures: Pictures


async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


DoorOf = Annotated[Door, Depends(_door)]
"""Annotation of a route's parameter that takes the door."""


def base_url(request: Request, door: Door) -> str:
    """Return the URL of the archive's root as the client sees it, without a slash at its end."""
    if door.settings.public_url:
        return door.settings.public_url.rstrip("/")
    url = request.base_url
    server = request.scope.get("server")
    # Some clients (dicomweb-client) leave the port out of Host; a proxy that does says that it is one.
    if server and server[1] and url.port is None and not any(name in request.headers for name in _PROXIED):
        default = 443 if url.scheme == "https" else 80
        url = url if server[1] == default else url.replace(port=server[1])
    return str(url).rstrip("/")


def dicomweb_url(request: Request, door: Door) -> str:
    """Return the base URL of DICOMweb."""
    return base_url(request, door) + "/dicom-web"


def uid_of(name: str, text: str) -> str:
    """Check a UID of a path; raises `BadParameter` that names it."""
    if not is_uid(text):
        raise BadParameter(f"{name} in the URL is not a UID: expected digits and dots, at most 64, got {text[:80]!r}")
    return text


def resource_id(text: str) -> str:
    """Check an Orthanc identifier of a path; raises `UnknownResource`, as no resource can have another form."""
    try:
        parse_public_id(text)
    except Invalid as error:
        raise UnknownResource(str(error)) from None
    return text.lower()


def correlation_id(request: Request) -> str:
    """Return the id that follows this request."""
    value: str = request.state.correlation_id
    return value
