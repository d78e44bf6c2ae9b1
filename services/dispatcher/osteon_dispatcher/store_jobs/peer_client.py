"""Requests to peers by HTTP/1.1, on connections that are kept, with bodies that are never in memory as a whole.

Nothing follows a redirection: the credentials of a peer are for its address only.
"""

import asyncio
import base64
import http.client
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from osteon.errors import Invalid, Unavailable
from osteon.objects.port import Bytes
from osteon.remotes.port import Peer

SECONDS: Final = 120
"""For each step of a request to a peer that has no timeout of its own."""
_MAX_ANSWER: Final = 4 << 20
_BUSY: Final = frozenset({408, 425, 429, 502, 503, 504})
"""Nobody gets anything done there now."""
_FULL: Final = frozenset({500, 507})
_WRONG: Final = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405, 411})
"""Whatever is sent there: the address or the credentials are wrong."""


class PeerUnavailable(Unavailable):
    """A peer can not be reached, or can do nothing for anybody now."""


class PeerRefused(Invalid):
    """A peer did not take something."""


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What a peer answered; of a long body only the beginning."""

    status: int
    body: bytes

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _FULL

    @property
    def problem(self) -> str:
        """Status and the beginning of the body."""
        text = self.body[:200].decode("utf-8", "replace").strip()
        return f"answered {self.status}" + (f": {text}" if text else "")


class PeerClient:
    """One connection, opened when it is needed and again when the peer has closed it. One request at a time."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._url = urlsplit(peer.url.rstrip("/"))
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise Invalid(f"peer {peer.name!r}: {peer.url!r} is no http or https URL")
        self._secure = self._url.scheme == "https"
        self._connection: http.client.HTTPConnection | None = None

    async def post(
        self, path: str, headers: Mapping[str, str], body: AsyncIterator[Bytes], length: int | None
    ) -> PeerAnswer:
        """POST below the peer's URL; a `length` of None sends the body in chunks.

        What `body` raises comes out, and the connection is closed. Raises `PeerUnavailable`, and `PeerRefused` when
        the peer would answer the same to anything.
        """
        try:
            answer = await self._post(path, headers, body, length)
            if answer.status in _BUSY:
                raise PeerUnavailable(f"{self._where} {answer.problem}")
            if answer.status in _WRONG:
                raise PeerRefused(f"{self._where} {answer.problem}")
            return answer
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise PeerUnavailable(f"{self._where}: {error or type(error).__name__}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.sock is not None:
            with suppress(OSError):  # wakes a thread that waits for it
                connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()

    @property
    def _where(self) -> str:
        return f"{self._url.hostname}:{self._url.port or (443 if self._secure else 80)}"

    async def _post(
        self, path: str, headers: Mapping[str, str], body: AsyncIterator[Bytes], length: int | None
    ) -> PeerAnswer:
        first = await anext(body, b"")
        connection = await self._begun(path, headers, length, first)
        try:
            async for chunk in body:
                await asyncio.to_thread(connection.send, _framed(chunk, length))
            if length is None:
                await asyncio.to_thread(connection.send, b"0\r\n\r\n")
        except ConnectionError:
            # It may have answered before it closed: too large, not allowed.
            return await asyncio.to_thread(self._answer, connection)
        return await asyncio.to_thread(self._answer, connection)

    async def _begun(
        self, path: str, headers: Mapping[str, str], length: int | None, first: Bytes
    ) -> http.client.HTTPConnection:
        """Send the head and the first chunk; once more on a new connection when the kept one was closed meanwhile."""
        kept = self._connection is not None
        try:
            return await asyncio.to_thread(self._begin, path, headers, length, first)
        except (ConnectionError, http.client.HTTPException):
            if not kept:
                raise
            self.close()
            return await asyncio.to_thread(self._begin, path, headers, length, first)

    def _begin(
        self, path: str, headers: Mapping[str, str], length: int | None, first: Bytes
    ) -> http.client.HTTPConnection:
        if self._connection is not None and _closed_by_peer(self._connection):
            self.close()
        connection = self._connection or self._open()
        self._connection = connection
        connection.putrequest("POST", f"{self._url.path}{path}", skip_accept_encoding=True)
        sizes = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        for name, value in {**self._common(), **headers, **sizes}.items():
            connection.putheader(name, value)
        connection.endheaders()
        if first:
            connection.send(_framed(first, length))
        return connection

    def _open(self) -> http.client.HTTPConnection:
        host, port, seconds = self._url.hostname or "", self._url.port, self._peer.timeout or SECONDS
        if self._secure:
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=_tls(self._peer))
        return http.client.HTTPConnection(host, port, timeout=seconds)

    def _common(self) -> dict[str, str]:
        headers = dict(self._peer.headers)
        if self._peer.username:
            pair = f"{self._peer.username}:{self._peer.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def _answer(self, connection: http.client.HTTPConnection) -> PeerAnswer:
        with connection.getresponse() as response:
            body = response.read(_MAX_ANSWER)
            if response.read(1):
                self.close()  # the rest would be taken for the next answer
            return PeerAnswer(response.status, body)


def _tls(peer: Peer) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=peer.ca_file or None)
    except OSError as error:
        raise Invalid(f"peer {peer.name!r}: the CA file {peer.ca_file!r} can not be used: {error}") from error


def _framed(chunk: Bytes, length: int | None) -> Bytes:
    return chunk if length is not None else b"".join((b"%x\r\n" % len(chunk), chunk, b"\r\n"))


def _closed_by_peer(connection: http.client.HTTPConnection) -> bool:
    """Whether a kept connection has come to its end: nothing may be read from it before a request."""
    if connection.sock is None:
        return False
    waiting = connection.sock
    timeout = waiting.gettimeout()
    waiting.setblocking(False)
    try:
        waiting.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        waiting.settimeout(timeout)
    return True
