"""C-ECHO and C-FIND in modalities, and `/system` of peers, for `query` (PS3.4 A, C.4.1, K.4.1)."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Final

import orjson

from osteon.bus.port import Bus
from osteon.contracts.remote import (
    PeerSystemReply,
    PeerSystemRequest,
    PeerUploadReply,
    PeerUploadRequest,
    RemoteEchoReply,
    RemoteEchoRequest,
    RemoteFindReply,
    RemoteFindRequest,
    Target,
)
from osteon.contracts.topology import ECHO, PEER, PEER_UPLOAD, REMOTE_FIND
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.models import STUDY_ROOT
from osteon.dicom.text_encoder import UNICODE, text_encoder_for
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from osteon.dimse.handler import PresentationContext
from osteon.dimse.requestor import Remote, RequestedAssociation, RequestedContext, associate
from osteon.dimse.sop_classes import VERIFICATION
from osteon.dimse.status import Status
from osteon.errors import Invalid, OsteonError
from osteon.logging import get_logger
from osteon.objects.port import Bytes, Objects
from osteon.remotes.port import Remotes
from osteon.remotes.queries import RemoteQueries
from osteon_dispatcher.peer_client import PeerPolicy, open_peer

_SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_BATCH: Final = 200
"""Matches that are kept in one transaction."""
_SEARCHES: Final = 32
"""Searches at the same time: most of their time they wait for a modality."""
_READ_INLINE: Final = 64 << 10
"""Bytes of an answer that is read without a thread."""
_LATIN: Final = text_encoder_for(("ISO_IR 100",)) or UNICODE
"""Most archives understand it; what it lacks is sent in UTF-8."""
_PEER_SECONDS: Final = 10

TlsContextProvider = Callable[[], ssl.SSLContext]
log = get_logger(__name__)


class RemoteProblem(OsteonError):
    """A modality or a peer did not carry out a request."""


async def serve(
    bus: Bus,
    remotes: Remotes,
    queries: RemoteQueries,
    *,
    objects: Objects,
    tls: TlsContextProvider | None = None,
    policy: PeerPolicy = PeerPolicy(),  # noqa: B008  (frozen)
) -> None:
    """Answer these requests; `tls` makes the context for modalities that want TLS."""
    await bus.serve(ECHO, partial(echo, tls=tls))
    await bus.serve(REMOTE_FIND, partial(find, queries=queries, tls=tls), concurrency=_SEARCHES)
    await bus.serve(PEER, partial(peer_system, remotes=remotes, policy=policy))
    await bus.serve(PEER_UPLOAD, partial(peer_upload, remotes=remotes, objects=objects, policy=policy))


async def echo(message: RemoteEchoRequest, tls: TlsContextProvider | None = None) -> RemoteEchoReply:
    """C-ECHO a modality; with `find` also see whether it accepts a context for C-FIND. Raises `OsteonError`."""
    proposed = [RequestedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=_SYNTAXES)]
    if message.find:
        proposed.append(RequestedContext(abstract_syntax=STUDY_ROOT.find, transfer_syntaxes=_SYNTAXES))
    async with associate(_remote(message.target, tls), proposed) as association:
        outcome = await association.echo()
        accepts_find = association.context_for(STUDY_ROOT.find) is not None
    _check(outcome.status, outcome.comment)
    if message.find and not accepts_find:
        raise RemoteProblem("it does not accept C-FIND (Study Root)")
    return RemoteEchoReply(correlation_id=message.correlation_id)


async def find(
    message: RemoteFindRequest, queries: RemoteQueries, tls: TlsContextProvider | None = None
) -> RemoteFindReply:
    """C-FIND in a modality; each match becomes an answer of the query. Raises `OsteonError`."""
    proposed = [RequestedContext(abstract_syntax=message.sop_class_uid, transfer_syntaxes=_SYNTAXES)]
    search = _Search(message, queries)
    try:
        async with asyncio.timeout(message.seconds), associate(_remote(message.target, tls), proposed) as association:
            status, comment = await search.run(association)
    except TimeoutError:
        raise RemoteProblem(f"not finished within {message.seconds:g} s (OSTEON_REMOTE_FIND_SECONDS)") from None
    finally:
        log.info("C-FIND in a modality finished", aet=message.target.aet, answers=search.found)
    if not search.truncated:
        _check(status, comment)
    return RemoteFindReply(correlation_id=message.correlation_id, answers=search.found, truncated=search.truncated)


class _Search:
    """A C-FIND and what it has found so far."""

    def __init__(self, message: RemoteFindRequest, queries: RemoteQueries) -> None:
        self._message = message
        self._queries = queries
        self._reader = HeaderReader()
        self.found = 0
        self.truncated = False

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
                    self.truncated = True
                    break
                batch.append(await self._header(response.identifier or b"", context))
                self.found += 1
                if len(batch) == _BATCH:
                    await self._queries.add_answers(self._message.query_id, batch)
                    batch = []
        await self._queries.add_answers(self._message.query_id, batch)
        return status, comment

    async def _header(self, identifier: bytes, context: PresentationContext) -> bytes:
        if len(identifier) < _READ_INLINE:
            return self._reader.read(identifier, context.transfer_syntax).json
        return (await asyncio.to_thread(self._reader.read, identifier, context.transfer_syntax)).json


def _remote(target: Target, tls: TlsContextProvider | None) -> Remote:
    if target.tls and tls is None:
        raise Invalid("it requires TLS, which is not configured")
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
        raise RemoteProblem(f"it answered {status.words}" + (f": {comment}" if comment else ""))


async def peer_system(
    message: PeerSystemRequest,
    remotes: Remotes,
    policy: PeerPolicy = PeerPolicy(),  # noqa: B008  (frozen)
) -> PeerSystemReply:
    """Get `/system` of a peer. Raises `OsteonError`."""
    peer = await remotes.peer(message.peer)
    try:
        async with open_peer(peer, policy, seconds=_PEER_SECONDS) as client:
            answer = await client.get("/system")
        if not 200 <= answer.status < 300:
            raise RemoteProblem(answer.problem)
        system = orjson.dumps(orjson.loads(answer.body)).decode()
    except ValueError as error:
        raise RemoteProblem("its /system is not JSON; is the URL that of an Orthanc or an Osteon?") from error
    return PeerSystemReply(correlation_id=message.correlation_id, system=system)


async def peer_upload(
    message: PeerUploadRequest, *, remotes: Remotes, objects: Objects, policy: PeerPolicy
) -> PeerUploadReply:
    """POST a file to `/instances` of a peer. Raises `OsteonError`."""
    peer = await remotes.peer(message.peer)

    async def content() -> AsyncGenerator[Bytes]:
        async for chunk in objects.stream(message.key):
            yield chunk

    async with open_peer(peer, policy) as client:
        answer = await client.post("/instances", {"Content-Type": "application/dicom"}, content, message.length)
    if answer.status != HTTPStatus.OK:
        raise RemoteProblem(answer.problem)
    try:
        text = orjson.dumps(orjson.loads(answer.body)).decode()
    except ValueError as error:
        raise RemoteProblem("its answer is not that of Orthanc's /instances: it is not JSON") from error
    return PeerUploadReply(correlation_id=message.correlation_id, answer=text)
