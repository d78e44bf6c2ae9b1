"""Writes DIMSE messages to an association, one after another (PS3.8 Annex E): parts of two never mix."""

import asyncio
from collections.abc import AsyncIterable, Iterator
from typing import Protocol

from osteon.dimse import pdu
from osteon.dimse.pdu import COMMAND, LAST, PDV_HEADER

_MOST_POSTPONED = 64


class PduWriter(Protocol):
    """What a sender needs of the association."""

    def may_send(self) -> bool:
        """The state allows data (DT-1, AR-7)."""

    def send(self, *pdus: bytes | memoryview) -> None:
        """Write whole PDUs, or parts of one in order."""

    async def writable(self) -> None:
        """Wait until the peer has read enough of what was sent."""


class MessageSender:
    """Sends whole messages at once, and long ones as they come.

    Args:
        writer: the association.
        limit: maximum PDU length (PS3.8 D.1).
    """

    def __init__(self, writer: PduWriter, limit: int) -> None:
        self._writer = writer
        self._limit = limit
        self._streams = asyncio.Lock()
        self.torn = False
        """Half a message has been sent, and the rest is not coming now."""
        self._postponed: list[bytes] = []

    @property
    def postponed(self) -> int:
        """PDUs that wait for the message that is being streamed."""
        return len(self._postponed)

    @property
    def crowded(self) -> bool:
        """So many PDUs wait that nothing more is begun that could add to them."""
        return self.postponed >= _MOST_POSTPONED

    def send(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        """Send a message, after the one that is being streamed; nothing when the state allows no data."""
        pdus = [*pdu.fragment(context_id, COMMAND, command, self._limit)]
        if data_set is not None:
            pdus += pdu.fragment(context_id, 0, data_set, self._limit)
        self._postponed += pdus
        if not self._streams.locked():
            self._flush()

    async def stream(self, context_id: int, command: bytes, data: AsyncIterable[bytes | memoryview]) -> None:
        """Send a message whose data set comes bit by bit; return at once when the state allows data no longer.

        What `data` gives must not change any more. Nothing is sent before its first part is there; when it raises
        after that, `torn` is set: abort the association.
        """
        parts = aiter(data)
        first = await anext(parts, b"")
        async with self._streams:
            self.torn = True
            self._write(pdu.fragment(context_id, COMMAND, command, self._limit))
            cutter = PdvFragmenter(context_id, self._limit)
            self._write(cutter.add(first))
            while self._writer.may_send() and (part := await anext(parts, None)) is not None:
                self._write(cutter.add(part))
                await self._writer.writable()
            self._write(cutter.end())
            self.torn = False
        self._flush()

    async def idle(self) -> None:
        """Wait until a message would be sent at once."""
        async with self._streams:
            await self._writer.writable()

    def _write(self, parts: Iterator[bytes | memoryview]) -> None:
        if self._writer.may_send():
            self._writer.send(*parts)

    def _flush(self) -> None:
        pdus, self._postponed = self._postponed, []
        self._write(iter(pdus))


class PdvFragmenter:
    """Cuts a data set that comes in parts of any size into P-DATA-TF PDUs, without copying it.

    All PDUs but the last are as long as the limit allows.
    """

    def __init__(self, context_id: int, limit: int) -> None:
        self._context_id = context_id
        self._step = (limit - PDV_HEADER.size) & ~1
        self._parts: list[memoryview] = []
        self._size = 0

    def add(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Take the next bytes; yield PDUs, each in parts. What may be the last one stays behind."""
        rest = memoryview(data).cast("B")
        while self._size + len(rest) > self._step:
            taken = self._step - self._size
            yield pdu.data_header(self._context_id, 0, self._step)
            yield from self._parts
            if taken:
                yield rest[:taken]
            rest = rest[taken:]
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)

    def end(self) -> Iterator[bytes | memoryview]:
        """Yield the last PDU, padded to an even length (PS3.8 9.3.5.1)."""
        if self._size % 2:
            self._parts.append(memoryview(b"\0"))
            self._size += 1
        yield pdu.data_header(self._context_id, LAST, self._size)
        yield from self._parts
