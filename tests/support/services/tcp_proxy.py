"""A TCP proxy on loopback whose connections a test can cut, stall and delay."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_CHUNK = 1 << 16


class TcpProxy:
    """Passes connections on to a loopback port; runs in a thread of its own inside a `with` statement."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._delay = 0.0
        self._cut = False
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accepted, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection, and every new one, until `mend`."""
        self._control(cut=True)

    def stall(self) -> None:
        """Pass nothing on until `mend`; connections stay open."""
        self._control(stall=True)

    def delay(self, seconds: float) -> None:
        """Pass everything on so much later until `mend`."""
        self._control(delay=seconds)

    def mend(self) -> None:
        """Pass everything on at once again."""
        self._control()

    def _control(self, *, cut: bool = False, stall: bool = False, delay: float = 0.0) -> None:
        asyncio.run_coroutine_threadsafe(self._set(cut, stall, delay), self._loop).result(10)

    async def _set(self, cut: bool, stall: bool, delay: float) -> None:
        self._cut, self._delay = cut, delay
        self._flowing.clear() if stall else self._flowing.set()
        if cut:
            for writer in self._writers:
                _reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            if self._cut:
                _reset(writer)
                return
            beyond = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(beyond[1])
            self._writers.update(ends)
            await asyncio.gather(self._pump(reader, beyond[1]), self._pump(beyond[0], writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._flowing.wait()
            if self._delay:
                await asyncio.sleep(self._delay)
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def _close(self) -> None:
        self._server.close()
        await self._set(True, False, 0.0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, as a network that drops it does, not with FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
