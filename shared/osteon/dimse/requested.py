"""The requestor's end of one association."""

from collections.abc import AsyncIterable, AsyncIterator, Callable

from osteon.dimse.handler import (
    FindResponse,
    Outcome,
    PresentationContext,
    RetrieveResponse,
    StoreRequest,
    StoreSink,
)


class RequestedAssociation:
    """An association that we asked for."""

    contexts: tuple[PresentationContext, ...]

    def context_for(self, abstract_syntax: str, *transfer_syntaxes: str) -> PresentationContext | None:
        """Return an accepted context, of the first of `transfer_syntaxes` that one has."""
        raise NotImplementedError

    async def echo(self) -> Outcome:
        """C-ECHO."""
        raise NotImplementedError

    async def store(
        self,
        context: PresentationContext,
        sop_class_uid: str,
        sop_instance_uid: str,
        data: AsyncIterable[bytes | memoryview],
        *,
        length: int | None = None,
        move_originator: tuple[str, int] | None = None,
    ) -> Outcome:
        """C-STORE."""
        raise NotImplementedError

    def find(self, context: PresentationContext, identifier: bytes) -> AsyncIterator[FindResponse]:
        """C-FIND."""
        raise NotImplementedError

    def move(
        self, context: PresentationContext, identifier: bytes, destination: str
    ) -> AsyncIterator[RetrieveResponse]:
        """C-MOVE."""
        raise NotImplementedError

    def get(
        self,
        context: PresentationContext,
        identifier: bytes,
        sinks: Callable[[StoreRequest, PresentationContext], StoreSink | Outcome],
    ) -> AsyncIterator[RetrieveResponse]:
        """C-GET."""
        raise NotImplementedError

    async def action(
        self, context: PresentationContext, sop_class: str, sop_instance: str, action_type: int, data_set: bytes
    ) -> tuple[Outcome, bytes | None]:
        """N-ACTION."""
        raise NotImplementedError

    async def report(
        self, context: PresentationContext, sop_class: str, sop_instance: str, event_type: int, data_set: bytes
    ) -> tuple[Outcome, bytes | None]:
        """N-EVENT-REPORT."""
        raise NotImplementedError
