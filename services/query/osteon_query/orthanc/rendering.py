"""Orthanc REST: pictures of instances and of their frames.

Frames are counted from 0 here.
"""

import struct
import zlib
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.contracts.imaging import ImageMode
from osteon.dicom.models import Level
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.errors import NotRenderable, UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import correlation_id, resource_id
from osteon_query.images import parameters
from osteon_query.images.frame_count import frame_count
from osteon_query.images.picture_response import JPEG, PAM, PNG, choose, send_picture
from osteon_query.images.render_client import picture_request

router = APIRouter(prefix="/instances", tags=["Pictures"])

_PICTURES: Final[dict[str, tuple[ImageMode, tuple[str, ...]]]] = {
    "preview": ("preview", (PNG, JPEG, PAM)),
    "rendered": ("orthanc", (PNG, JPEG, PAM)),
    "image-uint8": ("uint8", (PNG, JPEG, PAM)),
    "image-uint16": ("uint16", (PNG, PAM)),
    "image-int16": ("int16", (PNG, PAM)),
}
"""What each is, and the media types it has: a JPEG has 8 bits."""
_OF_FRAMES: Final = (*_PICTURES, "matlab", "numpy", "raw", "raw.gz")


def _add_picture(name: str, mode: ImageMode, offered: tuple[str, ...]) -> None:
    @router.get(f"/{{id}}/{name}", name=f"{name} of instance")
    async def of_instance(request: Request, state: AppStateDep, id: str) -> Response:
        return await _picture(request, state, await locate(state, id), 1, mode, offered)

    @router.get(f"/{{id}}/frames/{{frame}}/{name}", name=f"{name} of frame")
    async def of_frame(request: Request, state: AppStateDep, id: str, frame: str) -> Response:
        location = await locate(state, id)
        return await _picture(request, state, location, await frame_number(state, location, frame), mode, offered)


for _name, (_how, _offered) in _PICTURES.items():
    _add_picture(_name, _how, _offered)


@router.get("/{id}/frames")
async def frames(state: AppStateDep, id: str) -> Response:
    """List the numbers of the frames."""
    return json_response(list(range(await frame_count(state.sidecars, state.frame_locator, await locate(state, id)))))


@router.get("/{id}/frames/{frame}")
async def frame(state: AppStateDep, id: str, frame: str) -> Response:
    """List what there is of a frame."""
    await frame_number(state, await locate(state, id), frame)
    return json_response(sorted(_OF_FRAMES))


async def locate(state: AppState, public_id: str) -> Location:
    """Return where an instance is; raises `UnknownResource`."""
    identifier = resource_id(public_id)
    found = await state.index.representatives(Level.IMAGE, [identifier])
    if identifier not in found:
        raise UnknownResource(f"there is no instance {identifier}")
    return found[identifier]


async def frame_number(state: AppState, location: Location, text: str) -> int:
    """Return the number, from 1, of a frame in a URL; raises `UnknownResource`."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UnknownResource(f"there is no frame {text[:40]!r}: frames are counted from 0")
    if text != "0" and int(text) >= (count := await frame_count(state.sidecars, state.frame_locator, location)):
        raise UnknownResource(f"there is no frame {text}: the instance has {count}, counted from 0")
    return int(text) + 1


async def _picture(  # noqa: PLR0917 - what a URL says
    request: Request, state: AppState, location: Location, frame: int, mode: ImageMode, offered: tuple[str, ...]
) -> Response:
    given = request.query_params
    media_type, _ = choose(request, offered)
    wanted: dict[str, object] = {"frames": [frame], "mode": mode, "media_type": media_type}
    wanted["quality"] = parameters.quality(given)
    if mode == "orthanc":
        wanted |= parameters.orthanc_window(given)
        wanted |= {name: parameters.side(given, name) for name in ("width", "height")}
        wanted["smooth"] = parameters.flag(given, "smooth", default=False)
    message = picture_request(location, correlation_id(request), **wanted)
    try:
        return await send_picture(request, state.pictures, location, message)
    except NotRenderable:
        if not parameters.flag(given, "returnUnsupportedImage", default=False):
            raise
        return Response(_placeholder(), media_type=PNG)


def _placeholder(side: int = 128) -> bytes:
    """Return a PNG of a grey square, crossed out: what there is instead of a picture."""
    rows = [
        bytes([0, *(255 if column in (row, side - 1 - row) else 64 for column in range(side))]) for row in range(side)
    ]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
