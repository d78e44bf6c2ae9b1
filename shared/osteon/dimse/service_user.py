"""DIMSE services of the peer, as their user: C-ECHO, C-STORE, C-FIND, C-MOVE, C-GET, N-ACTION (PS3.7 9.1 and 10.1).

An acceptor uses it too: for the sub-operations of C-GET, and for N-EVENT-REPORT.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing

from osteon.dimse.command import Command, CommandElement, CommandField
from osteon.dimse.errors import NotAccepted
from osteon.dimse.failed_uid_list import read_failed_uids
from osteon.dimse.handler import FindResponse, Outcome, PresentationContext, RetrieveResponse
from osteon.dimse.invoker import DimseResponse, Invoker
from osteon.dimse.pdu import ProtocolError
from osteon.dimse.sop_classes import VERIFICATION
from osteon.errors import Invalid

_MEDIUM = 0
"""Priority (0000,0700)."""
_LONGEST_COMMENT = 1024
"""Characters of Error Comment (64 by PS3.7 C) that are kept."""


class ServiceUser:
    """Requests operations. Every method raises `RequestorError` when the association ends before the answer, and
    `NotAccepted` when the context is not for it.

    Args:
        invoker: makes the requests.
        contexts: the accepted ones.
        is_requestor: whether this side requested the association, which decides what the roles mean.
    """

    def __init__(self, invoker: Invoker, contexts: Sequence[PresentationContext], *, is_requestor: bool) -> None:
        self.invoker = invoker
        self._is_requestor = is_requestor
        self.contexts = tuple(contexts)

    def context_for(self, abstract_syntax: str, *transfer_syntaxes: str) -> PresentationContext | None:
        """Return an accepted context with the first of `transfer_syntaxes` that one has; with any if none is given."""
        found = [context for context in self.contexts if context.abstract_syntax == abstract_syntax]
        if not transfer_syntaxes:
            return found[0] if found else None
        by_syntax = {context.transfer_syntax: context for context in reversed(found)}
        return next((by_syntax[uid] for uid in transfer_syntaxes if uid in by_syntax), None)

    def contexts_to_use(self, abstract_syntax: str) -> list[PresentationContext]:
        """Return the accepted contexts in which this side is service class user."""
        return [each for each in self.contexts if each.abstract_syntax == abstract_syntax and self._has_role(each)]

    async def echo(self) -> Outcome:
        """C-ECHO on the first context for it."""
        context = self.context_for(VERIFICATION)
        if context is None:
            raise NotAccepted("the peer has accepted no presentation context for C-ECHO")
        values = {CommandElement.AFFECTED_SOP_CLASS_UID: VERIFICATION}
        async with self.invoker.invoke(context, CommandField.C_ECHO_RQ, values) as invocation:
            return _outcome(await invocation.response())

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
        """C-STORE of a data set that is encoded in the context's transfer syntax.

        Args:
            context: for the SOP class.
            sop_class_uid: Affected SOP Class UID.
            sop_instance_uid: Affected SOP Instance UID.
            data: the data set in parts of any size, which must not change any more; taken no faster than the
                peer reads. When it raises after its first part, the association is aborted.
            length: bytes of the data set if known; more or fewer are `Invalid`.
            move_originator: AE title and Message ID of the C-MOVE that this is a sub-operation of.
        """
        self._check(context)
        values: dict[CommandElement, int | str] = {
            CommandElement.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            CommandElement.PRIORITY: _MEDIUM,
            CommandElement.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
        }
        if move_originator is not None:
            values[CommandElement.MOVE_ORIGINATOR_AET], values[CommandElement.MOVE_ORIGINATOR_MESSAGE_ID] = (
                move_originator
            )
        measured = data if length is None else _measured(data, length)
        async with self.invoker.invoke(context, CommandField.C_STORE_RQ, values, measured) as invocation:
            return _outcome(await invocation.response())

    async def find(self, context: PresentationContext, identifier: bytes) -> AsyncGenerator[FindResponse]:
        """C-FIND: yield pending responses, then the final one. Closing (`aclose`) before that sends C-CANCEL."""
        async with aclosing(self._responses(context, CommandField.C_FIND_RQ, identifier, {})) as responses:
            async for response in responses:
                yield FindResponse(response.status, response.data_set, _comment(response.command))

    async def move(
        self, context: PresentationContext, identifier: bytes, destination: str
    ) -> AsyncGenerator[RetrieveResponse]:
        """C-MOVE to an AE title: yield responses as `find` does."""
        values: dict[CommandElement, int | str] = {CommandElement.MOVE_DESTINATION: destination}
        async with aclosing(self._responses(context, CommandField.C_MOVE_RQ, identifier, values)) as responses:
            async for response in responses:
                yield _retrieved(response, context)

    async def retrieve(self, context: PresentationContext, identifier: bytes) -> AsyncGenerator[RetrieveResponse]:
        """C-GET: yield responses as `find` does; the sub-operations are requests of the peer."""
        async with aclosing(self._responses(context, CommandField.C_GET_RQ, identifier, {})) as responses:
            async for response in responses:
                yield _retrieved(response, context)

    async def action(
        self, context: PresentationContext, sop_class: str, sop_instance: str, action_type: int, data_set: bytes
    ) -> tuple[Outcome, bytes | None]:
        """N-ACTION: return its outcome and Action Reply, if there is one. An empty `data_set` is not sent."""
        self._check(context)
        values: dict[CommandElement, int | str] = {
            CommandElement.REQUESTED_SOP_CLASS_UID: sop_class,
            CommandElement.REQUESTED_SOP_INSTANCE_UID: sop_instance,
            CommandElement.ACTION_TYPE_ID: action_type,
        }
        async with self.invoker.invoke(context, CommandField.N_ACTION_RQ, values, data_set or None) as invocation:
            response = await invocation.response()
        return _outcome(response), response.data_set

    async def report(
        self, context: PresentationContext, sop_class: str, sop_instance: str, event_type: int, data_set: bytes
    ) -> tuple[Outcome, bytes | None]:
        """N-EVENT-REPORT, as the provider of the service: return its outcome and Event Reply, if there is one."""
        self._check(context, as_user=False)
        values: dict[CommandElement, int | str] = {
            CommandElement.AFFECTED_SOP_CLASS_UID: sop_class,
            CommandElement.AFFECTED_SOP_INSTANCE_UID: sop_instance,
            CommandElement.EVENT_TYPE_ID: event_type,
        }
        field = CommandField.N_EVENT_REPORT_RQ
        async with self.invoker.invoke(context, field, values, data_set or None) as invocation:
            response = await invocation.response()
        return _outcome(response), response.data_set

    async def _responses(
        self,
        context: PresentationContext,
        field: CommandField,
        identifier: bytes,
        values: dict[CommandElement, int | str],
    ) -> AsyncGenerator[DimseResponse]:
        self._check(context)
        common: dict[CommandElement, int | str] = {
            CommandElement.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
            CommandElement.PRIORITY: _MEDIUM,
        }
        async with self.invoker.invoke(context, field, common | values, identifier) as invocation:
            pending = True
            while pending:
                response = await invocation.response()
                pending = response.status.is_pending
                yield response

    def _check(self, context: PresentationContext, *, as_user: bool = True) -> None:
        self.invoker.check()
        if context not in self.contexts:
            raise NotAccepted(f"presentation context {context.context_id} is of another association")
        if not self._has_role(context, as_user=as_user):
            role = "user" if as_user else "provider"
            raise NotAccepted(f"{context.abstract_syntax}: the role of service class {role} was not accepted")

    def _has_role(self, context: PresentationContext, *, as_user: bool = True) -> bool:
        # The roles are the requestor's: the acceptor has the other one.
        return context.scu if self._is_requestor == as_user else context.scp


async def _measured(data: AsyncIterable[bytes | memoryview], length: int) -> AsyncIterator[bytes | memoryview]:
    rest = length
    async for part in data:
        rest -= part.nbytes if isinstance(part, memoryview) else len(part)
        if rest < 0:
            break
        yield part
    if rest:
        raise Invalid(f"the data set has {'more' if rest < 0 else 'fewer'} than the {length} bytes that were announced")


def _outcome(response: DimseResponse) -> Outcome:
    return Outcome(response.status, _comment(response.command))


def _comment(command: Command) -> str:
    return command.text(CommandElement.ERROR_COMMENT)[:_LONGEST_COMMENT]


def _retrieved(response: DimseResponse, context: PresentationContext) -> RetrieveResponse:
    command, data_set = response.command, response.data_set
    return RetrieveResponse(
        status=response.status,
        remaining=_count(command, CommandElement.REMAINING_SUB_OPERATIONS),
        completed=_count(command, CommandElement.COMPLETED_SUB_OPERATIONS),
        failed=_count(command, CommandElement.FAILED_SUB_OPERATIONS),
        warning=_count(command, CommandElement.WARNING_SUB_OPERATIONS),
        failed_uids=read_failed_uids(data_set, context.transfer_syntax) if data_set else (),
        comment=_comment(command),
    )


def _count(command: Command, element: CommandElement) -> int:
    try:
        return command.number(element) or 0
    except ProtocolError:
        return 0  # a counter that cannot be read is no reason to lose what was retrieved
