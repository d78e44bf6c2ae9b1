"""C-ECHO and C-FIND in modalities, carried out by `dispatcher`; answers are stored in the index for a while."""

import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from osteon.bus.port import RequestFailed
from osteon.contracts.remote import RemoteEchoRequest, RemoteFindRequest, Target
from osteon.contracts.topology import ECHO, REMOTE_FIND
from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon.remotes.port import Modality
from osteon.remotes.queries import RemoteQuery
from osteon_query.app_state import AppState
from osteon_query.http.errors import RemoteFailed
from osteon_query.search.cfind_identifiers import CFindQuery

ECHO_SECONDS: Final = 60.0
"""Of a C-ECHO without a timeout of its own: connecting, association, response."""
_GRACE: Final = 15.0
"""Seconds for which the reply of `dispatcher` is awaited beyond the timeout of its operation."""

log = get_logger(__name__)


def target_of(state: AppState, modality: Modality, *, local_aet: str = "", timeout: int = 0) -> Target:
    """Return how to reach a modality; the arguments take precedence over its configuration."""
    return Target(
        aet=modality.aet,
        host=modality.host,
        port=modality.port,
        calling_aet=local_aet or modality.local_aet or state.settings.aet,
        tls=modality.tls,
        timeout=timeout or modality.timeout,
    )


async def echo(state: AppState, target: Target, *, find: bool, correlation_id: str) -> None:
    """Let `dispatcher` send a C-ECHO, and a C-FIND check with `find`; raises `RemoteFailed`."""
    message = RemoteEchoRequest(correlation_id=correlation_id, target=target, find=find)
    seconds = 3.0 * target.timeout or ECHO_SECONDS
    try:
        await state.bus.request(ECHO, message, timeout=seconds + _GRACE)
    except RequestFailed as error:
        raise RemoteFailed(f"C-ECHO SCU to AET {target.aet!r}: {error}") from error


async def search(
    state: AppState, target: Target, cfind_query: CFindQuery, query: RemoteQuery, correlation_id: str
) -> None:
    """Store a query and run it; raises `RemoteFailed`, and then nothing is stored."""
    settings = state.settings
    oldest = datetime.now(UTC) - timedelta(hours=settings.remote_query_hours)
    await state.remote_queries.add(query, keep=settings.remote_queries, older_than=oldest)
    message = RemoteFindRequest(
        correlation_id=correlation_id,
        target=target,
        sop_class_uid=cfind_query.sop_class_uid,
        identifier=orjson.dumps(cfind_query.identifier),
        query_id=query.id,
        limit=settings.remote_answers,
        seconds=settings.remote_find_seconds,
    )
    try:
        answer = await state.bus.request(REMOTE_FIND, message, timeout=message.seconds + _GRACE)
    except BaseException as error:
        with suppress(OsteonError):  # it may be deleted already; the first error counts
            await state.remote_queries.delete(query.id)
        if isinstance(error, RequestFailed):
            raise RemoteFailed(f"C-FIND SCU to AET {target.aet!r}: {error}") from error
        raise
    if answer.truncated:
        log.warning("remote search truncated", modality=query.modality, answers=answer.answers)


def new_query(modality: Modality, level: str, keys: Mapping[str, Any], **more: Any) -> RemoteQuery:
    """Return a query that has not been sent yet."""
    return RemoteQuery(
        id=str(uuid.uuid4()), modality=modality.name, level=level, query=keys, created=datetime.now(UTC), **more
    )
