"""Listens for associations and answers them: the acceptor's side of PS3.8."""

from collections.abc import Callable

from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationHandler, AssociationInfo
from osteon.dimse.observer import AcceptorObserver

HandlerFactory = Callable[[AssociationInfo], AssociationHandler]


class Acceptor:
    """A listening port of one AE.

    `handler_factory` is called once an association is accepted, on the event loop; when it raises, the association is
    rejected (transient, temporary congestion). `observer` hears of every accepted, rejected and ended association.
    """

    def __init__(
        self, config: AcceptorConfig, handler_factory: HandlerFactory, observer: AcceptorObserver | None = None
    ) -> None:
        raise NotImplementedError

    @property
    def associations(self) -> int:
        """Associations that are open now."""
        raise NotImplementedError

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which the system chooses when `port` is 0. Raises `OSError` when it can not."""
        raise NotImplementedError

    async def close(self, grace: float = 0.0) -> None:
        """Stop listening, wait at most `grace` seconds for the associations to end, then abort what is left.

        On return every handler's `closed` has run.
        """
        raise NotImplementedError
