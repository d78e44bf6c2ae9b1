"""Connections to the S3 server."""

import io
from typing import Any

import urllib3
from urllib3.response import BaseHTTPResponse

_BLOCK = 256 << 10


class SteadyPool(urllib3.PoolManager):
    """Up to `size` kept connections, no retries, and time limits that a slow but steady upload does not meet.

    urllib3 applies the connect timeout to sending a body, and to a body of bytes as a whole: 64 MiB would have to
    leave within those few seconds. As a file it is sent in blocks, and the limit holds for each.
    """

    def __init__(self, size: int, connect_timeout: float, read_timeout: float) -> None:
        super().__init__(
            maxsize=size,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            blocksize=_BLOCK,
        )

    def urlopen(  # type: ignore[override]  # the arguments are only passed on
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> BaseHTTPResponse:
        """Send a request; the body's length is in its headers, as the client of S3 signs it."""
        body = kw.get("body")
        if isinstance(body, bytes) and len(body) > _BLOCK:
            kw["body"] = io.BytesIO(body)
        return super().urlopen(method, url, redirect=redirect, **kw)
