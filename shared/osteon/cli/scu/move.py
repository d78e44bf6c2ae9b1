"""`osteon move`: C-MOVE (PS3.4 C.4.2): a peer sends instances to an AE that it knows."""

from contextlib import aclosing
from typing import Annotated

import typer

from osteon.cli.scu.keys import (
    SYNTAXES,
    Keys,
    LevelOption,
    QueryRequest,
    RootOption,
    parse_request,
    require_unique_key,
)
from osteon.cli.scu.options import EXIT_CODES, Common, Words, only_address, with_common
from osteon.cli.scu.retrieve_progress import RetrieveProgress
from osteon.cli.scu.runner import Interrupt, run
from osteon.dimse.errors import NotAccepted
from osteon.dimse.requestor import RequestedAssociation, RequestedContext, associate


@with_common
def main(
    common: Common,
    *,
    where: Words,
    to: Annotated[str, typer.Option("--to", "-aem", metavar="AET", help="AE title of the destination.")],
    keys: Keys = None,
    level: LevelOption = None,
    root: RootOption = None,
) -> None:
    """Let a peer send matches of unique keys to a destination (C-MOVE)."""

    async def work(interrupt: Interrupt) -> int:
        request = require_unique_key(parse_request(level, root, keys or [], {}))
        remote = common.make_remote(*only_address(where))
        retrieved = RetrieveProgress(common, "moving")
        proposed = RequestedContext(abstract_syntax=request.model.move, transfer_syntaxes=SYNTAXES)
        with retrieved.bar:
            async with associate(remote, [proposed]) as association:
                await interrupt.stoppable(move(association, request, to, retrieved))
        return retrieved.finish("moved")

    run(common, work)


main.__doc__ = f"{main.__doc__} {EXIT_CODES}"


async def move(association: RequestedAssociation, request: QueryRequest, to: str, retrieved: RetrieveProgress) -> None:
    """Ask, and take notice of all responses. Raises `OsteonError`."""
    context = association.context_for(request.model.move, *SYNTAXES)
    if context is None:
        raise NotAccepted(f"the peer has accepted no presentation context for C-MOVE ({request.root} root)")
    identifier = request.identifier(context.transfer_syntax)
    async with aclosing(association.move(context, identifier, to)) as responses:
        async for response in responses:
            retrieved.take(response)
