"""Thumbnails (PS3.18 10.4.1.1.4): requests for them, and rendering those of stable studies in advance."""

import asyncio
import random
from typing import Final
from uuid import uuid4

from osteon.archive.changes import ChangeLog, ChangeType, Stability
from osteon.archive.ports import ResourceSearch
from osteon.archive.resources import Location
from osteon.contracts.imaging import RenderRequest
from osteon.errors import OsteonError, Unavailable
from osteon.logging import get_logger
from osteon_query.images.parameters import Viewport
from osteon_query.images.picture_response import JPEG
from osteon_query.images.render_client import RenderClient, picture_request
from osteon_query.images.representative import of_every_series

SIDE: Final = 256
"""Pixels of a thumbnail's longer side, when the client does not say."""
FOLLOWER: Final = "thumbnails"
_PAUSE: Final = 5.0
_PAGE: Final = 100

log = get_logger(__name__)


def thumbnail_request(
    location: Location,
    correlation_id: str,
    *,
    frame: int = 1,
    media_type: str = JPEG,
    viewport: Viewport | None = None,
    background: bool = False,
) -> RenderRequest:
    """Return the request for the thumbnail of an instance."""
    return picture_request(
        location,
        correlation_id,
        frames=[frame],
        mode="rendered",
        media_type=media_type,
        viewport=viewport or (SIDE, SIDE, None, None, None, None),
        background=background,
    )


class ThumbnailPrefetcher:
    """Renders the thumbnails of studies that became stable. Every replica does; the cache is shared."""

    def __init__(
        self, index: ResourceSearch, change_log: ChangeLog, stability: Stability, pictures: RenderClient
    ) -> None:
        self._index = index
        self._change_log = change_log
        self._stability = stability
        self._pictures = pictures

    async def begin(self) -> None:
        """Skip what became stable before the first start. Raises `Unavailable`."""
        last = await self._change_log.last_change()
        if last and not await self._stability.position(FOLLOWER):
            await self._stability.advance(FOLLOWER, last.seq)

    async def run_forever(self) -> None:
        """Poll the change log every few seconds; errors are logged and the next poll tries again."""
        while True:
            await asyncio.sleep(_PAUSE * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            try:
                while await self.prefetch():
                    pass
            except Unavailable as error:
                log.warning("thumbnail prefetch failed", reason=str(error))
            except Exception:
                log.exception("thumbnail prefetch failed")

    async def prefetch(self) -> bool:
        """Render those of studies that became stable since the last call; return whether there are more."""
        since = await self._stability.position(FOLLOWER)
        page = await self._change_log.changes(since=since, limit=_PAGE, types=(ChangeType.STABLE_STUDY,))
        for change in page.changes:
            await self._render(change.public_id)
            await self._stability.advance(FOLLOWER, change.seq)
        return not page.done

    async def _render(self, study_id: str) -> None:
        for location in await of_every_series(self._index, study_id):
            message = thumbnail_request(location, uuid4().hex, background=True)
            if self._pictures.draws(message, location):
                continue
            try:
                await self._pictures.request(message)
            except Unavailable:
                raise
            except OsteonError as error:  # no image, or a corrupt one: reported when it is requested
                log.info("thumbnail not rendered", instance=location.identity.sop_uid, reason=str(error))
