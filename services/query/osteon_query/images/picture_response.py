"""One image as a response, with its entity tag; and the media type that the client accepts."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.contracts.imaging import RenderRequest
from osteon_query.http.accept import MediaRange, media_ranges
from osteon_query.http.conditional import entity_tag, not_modified, validator_headers
from osteon_query.http.errors import NotAcceptable
from osteon_query.http.request_values import warn
from osteon_query.http.streaming import stream_response
from osteon_query.images.render_client import RenderClient
from osteon_query.packs.items import count_bytes

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
GIF: Final = "image/gif"
PAM: Final = "image/x-portable-arbitrarymap"
PURPOSE: Final = "picture"
"""Label under which the bytes of pictures are counted."""


def choose(request: Request, offered: Sequence[str]) -> tuple[str, MediaRange]:
    """Return the media type that the client prefers, the first offered one where it has no preference, and its entry.

    Raises `NotAcceptable`.
    """
    for entry in media_ranges(request):
        for media_type in offered:
            if entry.accepts(media_type):
                return media_type, entry
    raise NotAcceptable(f"this can be sent as {', '.join(offered)}, and Accept has none of these")


async def send_picture(
    request: Request, pictures: RenderClient, location: Location, message: RenderRequest
) -> Response:
    """Send the image that `message` requests, or 304 when the client has it. Raises as `RenderClient.get` does."""
    tag = entity_tag(message.cache_key)
    if known := not_modified(request, tag):
        return known
    picture = await pictures.get(message, location)
    warn(request, "osteon", picture.warning)
    sent = {
        "Content-Type": picture.media_type,
        "Content-Length": str(picture.length),
        **validator_headers(tag, location),
    }
    return await stream_response(request, count_bytes(picture.chunks, PURPOSE), sent)
