"""One picture as an answer, with its entity tag; and which kind of picture the client takes."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.resources import Location
from osteon.contracts.imaging import RenderRequested
from osteon.objects.port import Bytes
from osteon_query.http.accept import MediaRange, media_ranges
from osteon_query.http.errors import NotAcceptable
from osteon_query.http.streaming import streamed
from osteon_query.http.validators import entity_tag, not_modified, validators
from osteon_query.images.asking import Pictures

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
GIF: Final = "image/gif"
PAM: Final = "image/x-portable-arbitrarymap"
WAY: Final = "picture"
"""Label under which the bytes of pictures are counted."""


def choose(request: Request, offered: Sequence[str]) -> tuple[str, MediaRange]:
    """Return the media type that the client likes best, the first one where it does not mind, and its entry.

    Raises `NotAcceptable`.
    """
    for entry in media_ranges(request):
        for media_type in offered:
            if entry.takes(media_type):
                return media_type, entry
    raise NotAcceptable(f"this picture can be {', '.join(offered)}, and Accept has none of these")


async def send_picture(
    request: Request,
    pictures: Pictures,
    location: Location,
    message: RenderRequested,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with what `message` asks for, or 304 when the client has it. Raises as `Pictures.get` does."""
    tag = entity_tag(message.cache_key)
    if known := not_modified(request, tag):
        return known
    picture = await pictures.get(message)
    told = {
        "Content-Type": picture.media_type,
        "Content-Length": str(picture.length),
        **validators(tag, location),
        **(headers or {}),
    }
    return await streamed(request, counted(picture.chunks), told)


async def counted(chunks: AsyncGenerator[Bytes, None]) -> AsyncGenerator[Bytes, None]:
    """Count bytes that are sent."""
    async for chunk in chunks:
        metrics.HTTP_BYTES_SENT.labels(WAY).inc(len(chunk))
        yield chunk
