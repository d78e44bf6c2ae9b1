"""Asks remote application entities for associations: the requestor's side of PS3.8."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from osteon.dimse.config import Proposed, Remote, RequestorConfig
from osteon.dimse.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectFailed,
    NoAnswer,
    NotAccepted,
    RequestorError,
)
from osteon.dimse.requested import RequestedAssociation

__all__ = [
    "AssociationAborted",
    "AssociationRejected",
    "ConnectFailed",
    "NoAnswer",
    "NotAccepted",
    "Proposed",
    "Remote",
    "RequestedAssociation",
    "RequestorConfig",
    "RequestorError",
    "associate",
]


_DEFAULTS = RequestorConfig()


@asynccontextmanager
async def associate(
    remote: Remote, contexts: Sequence[Proposed], config: RequestorConfig = _DEFAULTS
) -> AsyncIterator[RequestedAssociation]:
    """Hold an association for the block."""
    raise NotImplementedError((remote, contexts, config))
    yield
