"""Requests to peers by HTTP/1.1: connections are kept, and no body is in memory as a whole.

Nothing follows a redirection: the credentials of a peer are for its address only. httpx rather than aiohttp, because it
limits the time of each write too: a peer that stops reading must not hold a job forever.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import httpx

from osteon.dimse.connect_failure import describe_connect_failure, format_address
from osteon.errors import Invalid, Unavailable
from osteon.logging import get_logger
from osteon.objects.port import Bytes
from osteon.remotes.port import PEM, Peer, without_credentials
from osteon.settings import PeerSettings

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

log = get_logger(__name__)
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


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """What a peer's configuration may not decide.

    Attributes:
        ca_folder: holds the PEM files that a peer's `CaFile` may name.
        proxies: whether those of the environment (`HTTPS_PROXY`, `NO_PROXY`…) are used.
    """

    ca_folder: Path | None = None
    proxies: bool = False

    @classmethod
    def from_settings(cls, settings: PeerSettings) -> "PeerPolicy":
        """Return what the settings say."""
        return cls(settings.peer_ca_dir, settings.peer_proxy_from_environment)


@dataclass(frozen=True, slots=True)
class PeerDownload:
    """An answer whose body is read as it comes. `status` and `content_type` as the peer sent them."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]


class PeerClient:
    """Requests below the URL of one peer; made by `open_peer`."""

    def __init__(self, http: httpx.AsyncClient, url: httpx.URL, seconds: float) -> None:
        self._http = http
        self._url = url
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._address = format_address(url.host, self._port)
        self._seconds = seconds
        self._answered = False

    async def get(self, path: str) -> PeerAnswer:
        """GET; raises `PeerUnavailable`."""
        return await self._request("GET", path)

    async def delete(self, path: str) -> PeerAnswer:
        """DELETE; raises `PeerUnavailable`."""
        return await self._request("DELETE", path)

    @asynccontextmanager
    async def download(
        self, path: str, headers: Mapping[str, str], parameters: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[PeerDownload]:
        """GET an answer of any length; raises `PeerUnavailable`, also when it stops in the middle."""
        url = self._url.copy_with(path=self._url.path.rstrip("/") + path).copy_merge_params(list(parameters))
        try:
            async with self._http.stream("GET", url, headers=headers) as response:
                content_type = response.headers.get("content-type", "")
                yield PeerDownload(response.status_code, content_type, response.aiter_raw())
        except httpx.HTTPError as error:
            raise PeerUnavailable(self._describe(error)) from error

    def check(self, answer: PeerAnswer | PeerDownload) -> None:
        """Raise what the status of an answer means: `PeerUnavailable` or `PeerRefused`."""
        problem = answer.problem if isinstance(answer, PeerAnswer) else f"answered {answer.status}"
        if answer.status in _BUSY:
            raise PeerUnavailable(f"{self._address} {problem}")
        if not 200 <= answer.status < 300:
            raise PeerRefused(f"{self._address} {problem}")

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
                raise PeerUnavailable(self._describe(error)) from error
            self._answered = True
            return answer

    def _describe(self, error: httpx.HTTPError) -> str:
        """Say in words why a request failed."""
        host, secure = self._url.host, self._url.scheme == "https"
        if isinstance(error, httpx.ConnectTimeout):
            return describe_connect_failure(TimeoutError(), host, self._port, seconds=self._seconds)
        if isinstance(error, httpx.TimeoutException):
            return f"{self._address} gave no answer within {self._seconds:g} s"
        cause = _innermost(error)
        if isinstance(error, httpx.ConnectError) and isinstance(cause, OSError):
            return describe_connect_failure(cause, host, self._port, seconds=self._seconds, secure=secure)
        if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error):
            return f"{self._address} did not answer in HTTP; are the port and http or https right?"
        if isinstance(error, _CLOSED):
            return f"{self._address} closed the connection without an answer in HTTP"
        return f"{self._address}: {str(cause) or type(error).__name__}"

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
    peer: Peer, policy: PeerPolicy, *, connections: int = 1, seconds: float = SECONDS
) -> AsyncIterator[PeerClient]:
    """Keep at most so many connections with a peer, each opened when it is needed. Raises `Invalid`.

    Args:
        peer: whom to reach, and as whom.
        policy: which files and proxies may be used.
        connections: requests at the same time.
        seconds: for each step of a request, unless the peer has its own timeout.
    """
    url = _url_of(peer)
    try:
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in peer.headers]
    except UnicodeError:
        raise Invalid(f"peer {peer.name!r}: an HTTP header is not Latin-1") from None
    async with httpx.AsyncClient(
        auth=httpx.BasicAuth(peer.username, peer.password) if peer.username else None,
        headers=[(b"Accept-Encoding", b"identity"), *headers],
        verify=await asyncio.to_thread(_tls, peer, policy.ca_folder) if url.scheme == "https" else False,
        timeout=httpx.Timeout(peer.timeout or seconds, pool=None),
        limits=httpx.Limits(max_connections=connections, keepalive_expiry=None),
        trust_env=policy.proxies,
    ) as http:
        yield PeerClient(http, url, peer.timeout or seconds)


def _url_of(peer: Peer) -> httpx.URL:
    try:
        url = httpx.URL(peer.url)
    except httpx.InvalidURL as error:
        raise Invalid(f"peer {peer.name!r}: {without_credentials(peer.url)!r} is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Invalid(f"peer {peer.name!r}: {without_credentials(peer.url)!r} is not an http or https URL")
    return url.copy_with(userinfo=b"", query=None, fragment=None)


def _tls(peer: Peer, ca_folder: Path | None) -> ssl.SSLContext:
    """Return the context of a peer.

    Whoever configures a peer must not learn which files there are: one message, whatever is wrong with its `CaFile`.
    """
    if not peer.ca_file:
        return ssl.create_default_context()
    try:
        if PEM in peer.ca_file:
            return ssl.create_default_context(cadata=peer.ca_file)
        if ca_folder is not None:
            folder = ca_folder.resolve()
            path = (folder / peer.ca_file).resolve()
            if path.is_relative_to(folder):
                return ssl.create_default_context(cafile=str(path))
    except (OSError, ValueError):
        log.warning("CaFile of a peer cannot be used", peer=peer.name)
    raise Invalid(
        f"peer {peer.name!r}: its CaFile cannot be used; expected certificates as PEM text, or the name of a PEM file "
        "in OSTEON_PEER_CA_DIR"
    )


def _innermost(error: BaseException) -> BaseException:
    """Return the innermost cause: `Connection refused` rather than `All connection attempts failed`."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
    return error
