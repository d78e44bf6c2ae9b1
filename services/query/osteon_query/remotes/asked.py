"""C-ECHO and C-FIND in modalities: `dispatcher` does it, the answers are kept in the index for a while."""

import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from osteon.bus.port import RequestFailed
from osteon.contracts.remote import EchoRequested, RemoteFindRequested, Target
from osteon.contracts.topology import ECHO, REMOTE_FIND
from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon.remotes.port import Modality
from osteon.remotes.queries import RemoteQuery
from osteon_query.http.context import Door
from osteon_query.http.errors import RemoteFailed
from osteon_query.search.asking import Question

ECHO_SECONDS: Final = 60.0
"""For a C-ECHO of which nobody says how long it may take: connecting, association, response."""
_GRACE: Final = 15.0
"""Seconds that the answer of `dispatcher` may come later than its work should end."""

log = get_logger(__name__)


def target_of(door: Door, modality: Modality, *, local_aet: str = "", timeout: int = 0) -> Target:
    """Return how to reach a modality; what is given here goes before what is known of it."""
    return Target(
        aet=modality.aet,
        host=modality.host,
        port=modality.port,
        calling_aet=local_aet or modality.local_aet or door.settings.aet,
        tls=modality.tls,
        timeout=timeout or modality.timeout,
    )


async def echo(door: Door, target: Target, *, find: bool, correlation_id: str) -> None:
    """C-ECHO; raises `RemoteFailed`."""
    message = EchoRequested(correlation_id=correlation_id, target=target, find=find)
    seconds = 3.0 * target.timeout or ECHO_SECONDS
    try:
        await door.bus.request(ECHO, message, timeout=seconds + _GRACE)
    except RequestFailed as error:
        raise RemoteFailed(f"C-ECHO SCU to AET {target.aet!r}: {error}") from error


async def search(door: Door, target: Target, question: Question, query: RemoteQuery, correlation_id: str) -> None:
    """Keep a query and find its answers; raises `RemoteFailed`, and then nothing is kept."""
    settings = door.settings
    oldest = datetime.now(UTC) - timedelta(hours=settings.remote_query_hours)
    await door.index.queries.add(query, keep=settings.remote_queries, older_than=oldest)
    message = RemoteFindRequested(
        correlation_id=correlation_id,
        target=target,
        sop_class_uid=question.sop_class_uid,
        identifier=orjson.dumps(question.identifier),
        query_id=query.id,
        limit=settings.remote_answers,
        seconds=settings.remote_find_seconds,
    )
    try:
        answer = await door.bus.request(REMOTE_FIND, message, timeout=message.seconds + _GRACE)
    except BaseException as error:
        with suppress(OsteonError):  # it may be gone already; the first error counts
            await door.index.queries.delete(query.id)
        if isinstance(error, RequestFailed):
            raise RemoteFailed(f"C-FIND SCU to AET {target.aet!r}: {error}") from error
        raise
    if answer.cut:
        log.warning("search in a modality cut", modality=query.modality, answers=answer.answers)


def new_query(modality: Modality, level: str, keys: Mapping[str, Any], **more: Any) -> RemoteQuery:
    """Return a query that has not been asked yet."""
    return RemoteQuery(
        id=str(uuid.uuid4()), modality=modality.name, level=level, query=keys, created=datetime.now(UTC), **more
    )
