"""Ends the work for a request when its client has gone: Starlette does so only for responses that are streamed."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from osteon.logging import get_logger

CLIENT_CLOSED_REQUEST: Final = 499
"""What logs and metrics show for it, as those of other servers do; the client does not see it."""
log = get_logger(__name__)


async def respond_unless_closed(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return what `work` returns, whose request has been read; cancel it when the client closes the connection."""
    responding = asyncio.create_task(work)
    closing = asyncio.create_task(_closed(request))
    try:
        await asyncio.wait((responding, closing), return_when=asyncio.FIRST_COMPLETED)
        if responding.done():
            return responding.result()
        log.info("request closed by its client", path=request.url.path)
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    finally:
        for task in (responding, closing):
            task.cancel()
        await asyncio.gather(responding, closing, return_exceptions=True)


async def _closed(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
