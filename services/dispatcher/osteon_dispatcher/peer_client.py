"""Requests to peers by HTTP/1.1: connections are kept, and no body is in memory as a whole.

Nothing follows a redirection: the credentials of a peer are for its address only. httpx rather than aiohttp, because it
limits the time of each write too: a peer that stops reading must not hold a job forever.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

import httpx

from osteon.errors import Invalid, Unavailable
from osteon.objects.port import Bytes
from osteon.remotes.port import Peer

SECONDS: Final = 120
"""For each step of a request to a peer that has no timeout of its own."""
_MAX_ANSWER: Final = 4 << 20
_BUSY: Final = frozenset({408, 425, 429, 502, 503, 504})
"""The peer cannot serve any request now."""
_FULL: Final = frozenset({500, 507})
_WRONG: Final = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405, 411})
"""Whatever is sent there: the address or the credentials are wrong."""
_CLOSED: Final = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request

Body = Callable[[], AsyncGenerator[Bytes]]
"""Makes the chunks of a body, each time that it has to be sent."""


class PeerUnavailable(Unavailable):
    """A peer cannot be reached, or cannot serve any request now."""


class PeerRefused(Invalid):
    """A peer did not take something."""


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What a peer answered; of a long body only the beginning."""

    status: int
    body: bytes

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _FULL

    @property
    def problem(self) -> str:
        """Status and the beginning of the body."""
        text = self.body[:200].decode("utf-8", "replace").strip()
        return f"answered {self.status}" + (f": {text}" if text else "")


class PeerClient:
    """Requests below the URL of one peer; made by `open_peer`."""

    def __init__(self, http: httpx.AsyncClient, url: httpx.URL) -> None:
        self._http = http
        self._url = url
        self._address = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
        self._answered = False

    async def get(self, path: str) -> PeerAnswer:
        """GET; raises `PeerUnavailable`."""
        return await self._request("GET", path)

    async def post(self, path: str, headers: Mapping[str, str], body: Body, length: int) -> PeerAnswer:
        """POST a body of `length` bytes.

        What `body` raises comes out. Raises `PeerUnavailable`, and `PeerRefused` when the peer would answer the same
        to anything.
        """
        answer = await self._request("POST", path, {**headers, "Content-Length": str(length)}, body)
        if answer.status in _BUSY:
            raise PeerUnavailable(f"{self._address} {answer.problem}")
        if answer.status in _WRONG:
            raise PeerRefused(f"{self._address} {answer.problem}")
        return answer

    async def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> PeerAnswer:
        """Send a request, once more when the peer has closed the connection that was kept."""
        kept = self._answered
        while True:
            try:
                answer = await self._exchange(method, path, headers, body)
            except httpx.HTTPError as error:
                if kept and isinstance(error, _CLOSED):
                    kept = False
                    continue
                raise PeerUnavailable(f"{self._address}: {_reason(error)}") from error
            self._answered = True
            return answer

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str] | None, body: Body | None
    ) -> PeerAnswer:
        url = self._url.copy_with(path=self._url.path.rstrip("/") + path)
        chunks = cast("AsyncGenerator[bytes]", body()) if body else None  # h11 takes any buffer
        try:
            async with self._http.stream(method, url, headers=headers, content=chunks) as response:
                received = bytearray()
                async for part in response.aiter_raw():
                    received += part
                    if len(received) > _MAX_ANSWER:
                        break
                return PeerAnswer(response.status_code, bytes(received[:_MAX_ANSWER]))
        finally:
            if chunks is not None:
                await chunks.aclose()


@asynccontextmanager
async def open_peer(
    peer: Peer, *, connections: int = 1, seconds: float = SECONDS, proxies: bool = False
) -> AsyncIterator[PeerClient]:
    """Keep at most so many connections with a peer, each opened when it is needed. Raises `Invalid`.

    Args:
        peer: whom to reach, and as whom.
        connections: requests at the same time.
        seconds: for each step of a request, unless the peer has its own timeout.
        proxies: whether those of the environment (`HTTPS_PROXY`, `NO_PROXY`…) are used.
    """
    url = _url_of(peer)
    try:
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in peer.headers]
    except UnicodeError:
        raise Invalid(f"peer {peer.name!r}: an HTTP header is not Latin-1") from None
    async with httpx.AsyncClient(
        auth=httpx.BasicAuth(peer.username, peer.password) if peer.username else None,
        headers=[(b"Accept-Encoding", b"identity"), *headers],
        verify=await asyncio.to_thread(_tls, peer) if url.scheme == "https" else False,
        timeout=httpx.Timeout(peer.timeout or seconds, pool=None),
        limits=httpx.Limits(max_connections=connections, keepalive_expiry=None),
        trust_env=proxies,
    ) as http:
        yield PeerClient(http, url)


def _url_of(peer: Peer) -> httpx.URL:
    try:
        url = httpx.URL(peer.url)
    except httpx.InvalidURL as error:
        raise Invalid(f"peer {peer.name!r}: {peer.url!r} is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Invalid(f"peer {peer.name!r}: {peer.url!r} is not an http or https URL")
    return url.copy_with(userinfo=b"", query=None, fragment=None)


def _tls(peer: Peer) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=peer.ca_file or None)
    except OSError as error:
        raise Invalid(f"peer {peer.name!r}: the CA file {peer.ca_file!r} cannot be used: {error}") from error


def _reason(error: BaseException) -> str:
    """Return what the innermost cause says: `Connection refused` rather than `All connection attempts failed`."""
    kind, text = type(error).__name__, str(error)
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
        refused = isinstance(error, ConnectionError) and error.errno  # asyncio has words of its own for these
        text = os.strerror(refused) if refused else str(error) or text
    return text or kind
