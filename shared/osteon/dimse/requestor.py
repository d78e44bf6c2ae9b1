"""Requests associations of remote application entities: the requestor's side of PS3.8."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from osteon.dimse.config import Remote, RequestedContext, RequestorConfig
from osteon.dimse.connect_failure import describe_connect_failure
from osteon.dimse.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectFailed,
    NoAnswer,
    NotAccepted,
    RequestorError,
)
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.requestor_association import (
    IncomingRequests,
    Reports,
    RequestedAssociation,
    RequestorConnection,
)
from osteon.errors import Invalid

__all__ = [
    "AssociationAborted",
    "AssociationRejected",
    "ConnectFailed",
    "NoAnswer",
    "NotAccepted",
    "Remote",
    "RequestedAssociation",
    "RequestedContext",
    "RequestorConfig",
    "RequestorError",
    "associate",
]


_DEFAULTS = RequestorConfig()


@asynccontextmanager
async def associate(
    remote: Remote,
    contexts: Sequence[RequestedContext],
    config: RequestorConfig = _DEFAULTS,
    reports: Reports | None = None,
) -> AsyncIterator[RequestedAssociation]:
    """Hold an association for the block: released when it is left, aborted when an exception leaves it.

    Args:
        remote: the application entity.
        contexts: at most 128; which of them are accepted is for the block to see.
        config: timers and limits.
        reports: called with each N-EVENT-REPORT of the peer; without it they are refused.

    Raises:
        ConnectFailed, AssociationRejected, AssociationAborted, NoAnswer: there is no association.
        Invalid: what is to be requested is not possible.
    """
    requests = IncomingRequests(reports)
    connection = await _connect(remote, contexts, config, requests)
    try:
        invoker = await connection.answer
    except BaseException:
        connection.upper_layer.abort(AssociationEnd.FAILED, "the caller no longer waits for the association")
        raise
    association = RequestedAssociation(connection, invoker, requests)
    try:
        yield association
        await association.release()
    except BaseException:
        await association.abort()
        raise


async def _connect(
    remote: Remote, contexts: Sequence[RequestedContext], config: RequestorConfig, requests: IncomingRequests
) -> RequestorConnection:
    loop = asyncio.get_running_loop()
    connection = RequestorConnection(loop, remote, contexts, config, requests)
    seconds = remote.timeout or config.connect_timeout
    try:
        async with asyncio.timeout(seconds):
            await loop.create_connection(
                lambda: connection.upper_layer.transport, remote.host, remote.port, ssl=remote.tls
            )
    except OSError as error:
        secure = remote.tls is not None
        reason = describe_connect_failure(error, remote.host, remote.port, seconds=seconds, secure=secure)
        raise ConnectFailed(reason) from error
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{remote.host}:{remote.port} is not an address: {error}") from error
    return connection
