"""An acceptor that does what a test tells it, PDU by PDU, for the requestor to meet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from osteon.dimse import associate_rq, negotiation
from osteon.dimse import command as commands
from osteon.dimse.command import RESPONSE, Command, CommandElement
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.requestor import Remote, RequestedContext
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT, STUDY_FIND, VERIFICATION, RawPeer, command_set, data_tf, pdv

Script = Callable[[RawPeer], Awaitable[None]]
ECHO = RequestedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,))
STORE = RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,))
FIND = RequestedContext(abstract_syntax=STUDY_FIND, transfer_syntaxes=(EXPLICIT,))
ALL = (ECHO, STORE, FIND)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Remote]:
    """Run `script` on each connection, then close it; what it raises, other than by a lost connection, comes out."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        peer = RawPeer(reader, writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(peer)
        finally:
            await peer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 16)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Remote(aet="PEER", host="127.0.0.1", port=port)
    finally:
        server.close()
        done, late = await asyncio.wait(tasks, timeout=0.5) if tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()


async def acceptance(peer: RawPeer, **config: object) -> bytes:
    """Read A-ASSOCIATE-RQ and return what accepts it."""
    kind, body = await peer.receive()
    assert kind == 1
    return negotiation.agree(AcceptorConfig(**config), associate_rq.decode(body), body).answer


async def accept(peer: RawPeer, **config: object) -> None:
    """Accept all that an acceptor of ours would."""
    await peer.send(await acceptance(peer, **config))


def response(command: Command, status: int = 0, *, data: bool = False, context_id: int = 1, **more: int | str) -> bytes:
    """Encode a response to a request; further elements are named by their number: `e1020=3`."""
    values: dict[int, int | str | bytes] = {
        0x0100: command.require(CommandElement.COMMAND_FIELD) | RESPONSE,
        0x0120: command.message_id,
        0x0800: 1 if data else 0x0101,
        0x0900: status,
    }
    values.update({int(name[1:], 16): value for name, value in more.items()})
    return data_tf(pdv(context_id, 3, command_set(values)))


async def request(peer: RawPeer) -> tuple[int, commands.Command, bytes | None]:
    """Return context id, command set and data set of the next request."""
    message = await peer.response()
    return message.context_id, message.command, message.data_set
