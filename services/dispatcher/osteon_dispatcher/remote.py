"""C-ECHO and C-FIND in modalities, and questions to peers, for `query` (PS3.4 A, C.4.1, K.4.1)."""

import asyncio
import base64
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import orjson
from typing_extensions import override

from osteon.bus.port import Bus
from osteon.contracts.remote import (
    Echoed,
    EchoRequested,
    PeerAsked,
    PeerTold,
    RemoteFindRequested,
    RemoteFound,
    Target,
)
from osteon.contracts.topology import ECHO, PEER, REMOTE_FIND
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.reader import HeaderReader
from osteon.dicom.repertoire import UNICODE, repertoire
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from osteon.dimse.handler import PresentationContext
from osteon.dimse.requestor import Proposed, Remote, RequestedAssociation, associate
from osteon.dimse.sop_classes import VERIFICATION
from osteon.dimse.status import Status
from osteon.errors import Invalid, OsteonError
from osteon.logging import get_logger
from osteon.remotes.port import Peer, Remotes
from osteon.remotes.queries import Queries

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_BATCH: Final = 200
"""Matches that are kept in one transaction."""
_SEARCHES: Final = 32
"""Searches at the same time: most of their time they wait for somebody."""
_READ_AT_ONCE: Final = 64 << 10
"""Bytes of an answer that is read without a thread."""
_LATIN: Final = repertoire(("ISO_IR 100",)) or UNICODE
"""Most archives understand it; what it lacks is sent in UTF-8."""
_PEER_SECONDS: Final = 10
_MAX_SYSTEM: Final = 1 << 20

TlsOf = Callable[[], ssl.SSLContext]
log = get_logger(__name__)


class RemoteProblem(OsteonError):
    """A modality or a peer did not do what it was asked for."""


async def serve(bus: Bus, remotes: Remotes, queries: Queries, tls: TlsOf | None = None) -> None:
    """Answer these questions; `tls` makes the context for modalities that want TLS."""
    await bus.serve(ECHO, partial(echo, tls=tls))
    await bus.serve(REMOTE_FIND, partial(find, queries=queries, tls=tls), concurrency=_SEARCHES)
    await bus.serve(PEER, partial(peer_system, remotes=remotes))


async def echo(message: EchoRequested, tls: TlsOf | None = None) -> Echoed:
    """C-ECHO a modality; with `find` also see whether it accepts a context for C-FIND. Raises `OsteonError`."""
    proposed = [Proposed(abstract_syntax=VERIFICATION, transfer_syntaxes=_SYNTAXES)]
    if message.find:
        proposed.append(Proposed(abstract_syntax=STUDY_ROOT_FIND, transfer_syntaxes=_SYNTAXES))
    async with associate(_remote(message.target, tls), proposed) as association:
        outcome = await association.echo()
        accepts_find = association.context_for(STUDY_ROOT_FIND) is not None
    _check(outcome.status, outcome.comment)
    if message.find and not accepts_find:
        raise RemoteProblem("it does not accept C-FIND (Study Root)")
    return Echoed(correlation_id=message.correlation_id)


async def find(message: RemoteFindRequested, queries: Queries, tls: TlsOf | None = None) -> RemoteFound:
    """C-FIND in a modality; each match becomes an answer of the query. Raises `OsteonError`."""
    proposed = [Proposed(abstract_syntax=message.sop_class_uid, transfer_syntaxes=_SYNTAXES)]
    search = _Search(message, queries)
    try:
        async with asyncio.timeout(message.seconds), associate(_remote(message.target, tls), proposed) as association:
            status, comment = await search.run(association)
    except TimeoutError:
        raise RemoteProblem(f"not done within {message.seconds:g} s (OSTEON_REMOTE_FIND_SECONDS)") from None
    finally:
        log.info("searched in a modality", aet=message.target.aet, answers=search.found)
    if not search.cut:
        _check(status, comment)
    return RemoteFound(correlation_id=message.correlation_id, answers=search.found, cut=search.cut)


class _Search:
    """A C-FIND and what it has found so far."""

    def __init__(self, message: RemoteFindRequested, queries: Queries) -> None:
        self._message = message
        self._queries = queries
        self._reader = HeaderReader()
        self.found = 0
        self.cut = False

    async def run(self, association: RequestedAssociation) -> tuple[Status, str]:
        """Return the final status and its comment; raises `OsteonError`."""
        context = association.context_for(self._message.sop_class_uid, *_SYNTAXES)
        if context is None:
            raise Invalid(f"it does not accept a presentation context for C-FIND ({self._message.sop_class_uid})")
        encoder = DatasetEncoder(context.transfer_syntax, _LATIN)
        identifier = encoder.encode(orjson.loads(self._message.identifier))
        batch: list[bytes] = []
        status, comment = Status.SUCCESS, ""
        async with aclosing(association.find(context, identifier)) as responses:
            async for response in responses:
                if not response.status.is_pending:
                    status, comment = response.status, response.comment
                    break
                if self.found == self._message.limit:
                    self.cut = True
                    break
                batch.append(await self._header(response.identifier or b"", context))
                self.found += 1
                if len(batch) == _BATCH:
                    await self._queries.answered(self._message.query_id, batch)
                    batch = []
        await self._queries.answered(self._message.query_id, batch)
        return status, comment

    async def _header(self, identifier: bytes, context: PresentationContext) -> bytes:
        if len(identifier) < _READ_AT_ONCE:
            return self._reader.read(identifier, context.transfer_syntax).json
        return (await asyncio.to_thread(self._reader.read, identifier, context.transfer_syntax)).json


def _remote(target: Target, tls: TlsOf | None) -> Remote:
    if target.tls and tls is None:
        raise Invalid("it wants TLS, which is not set up here")
    return Remote(
        aet=target.aet,
        host=target.host,
        port=target.port,
        calling_aet=target.calling_aet,
        tls=tls() if target.tls and tls else None,
        timeout=target.timeout,
    )


def _check(status: Status, comment: str) -> None:
    if status.is_failure or status is Status.CANCEL:
        raise RemoteProblem(f"status 0x{status:04X}" + (f": {comment}" if comment else ""))


async def peer_system(message: PeerAsked, remotes: Remotes) -> PeerTold:
    """Ask a peer for its `/system`. Raises `OsteonError`."""
    peer = await remotes.peer(message.peer)
    try:
        system = await asyncio.to_thread(_get_system, peer)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise RemoteProblem(str(error) or type(error).__name__) from error
    return PeerTold(correlation_id=message.correlation_id, system=system)


def _get_system(peer: Peer) -> str:
    """Fetch and check it. Blocks; raises `OSError`, `HTTPException` and `ValueError`."""
    request = urllib.request.Request(peer.url.rstrip("/") + "/system", headers=dict(peer.headers))  # noqa: S310 - http(s) only
    if peer.username:
        credentials = base64.b64encode(f"{peer.username}:{peer.password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    context = ssl.create_default_context(cafile=peer.ca_file or None) if urlsplit(peer.url).scheme == "https" else None
    opener = urllib.request.build_opener(_NoRedirect(), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=peer.timeout or _PEER_SECONDS) as response:
        body = response.read(_MAX_SYSTEM)
    return orjson.dumps(orjson.loads(body)).decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the headers of a peer are for its address only."""

    @override
    def redirect_request(self, *_: object, **__: object) -> None:
        """Let the answer be an error."""
        return
