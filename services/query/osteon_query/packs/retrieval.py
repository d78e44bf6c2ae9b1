"""Reading out of packs: byte ranges, several pieces of a pack in one request, constant memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from osteon import metrics
from osteon.errors import Invalid
from osteon.objects.port import Bytes, ObjectNotFound, Objects
from osteon_query.http.errors import Unreadable
from osteon_query.http.streaming import read_ahead

_GAP: Final = 64 << 10
"""Reading over so many unwanted bytes is cheaper than another request."""
_MEMBERS: Final = 512
"""Pieces of one request at most, which bounds what is remembered of it."""
_READ_AHEAD: Final = 4
"""Chunks of at most 1 MiB."""


class Piece(Protocol):
    """A byte range of an object: an instance (`Location`), a frame, a value."""

    @property
    def key(self) -> str:
        """Object key."""

    @property
    def offset(self) -> int:
        """First byte."""

    @property
    def length(self) -> int:
        """Number of bytes."""


P = TypeVar("P", bound=Piece)


@dataclass(frozen=True, slots=True)
class Begins(Generic[P]):
    """What follows are the bytes of `piece`."""

    piece: P


@dataclass(frozen=True, slots=True)
class Span(Generic[P]):
    """Pieces that lie close together in one object, in the order of their bytes."""

    members: list[P]

    @property
    def key(self) -> str:
        """Object key."""
        return self.members[0].key

    @property
    def start(self) -> int:
        """First byte."""
        return self.members[0].offset

    @property
    def stop(self) -> int:
        """Byte after the last."""
        return self.members[-1].offset + self.members[-1].length

    def takes(self, piece: P) -> bool:
        """Whether `piece` can be read in the same request."""
        near = 0 <= piece.offset - self.stop <= _GAP
        return piece.key == self.key and near and len(self.members) < _MEMBERS


async def spans(pieces: AsyncIterator[P]) -> AsyncGenerator[Span[P], None]:
    """Gather neighbours."""
    span: Span[P] | None = None
    async for piece in pieces:
        if span is not None and span.takes(piece):
            span.members.append(piece)
            continue
        if span is not None:
            yield span
        span = Span([piece])
    if span is not None:
        yield span


async def read_pieces(
    objects: Objects, pieces: AsyncIterator[P], *, way: str
) -> AsyncGenerator[Begins[P] | Bytes, None]:
    """Yield each piece, then its bytes in chunks; reads ahead what is not in files. Raises `Unreadable`.

    `way` is the label under which pieces and bytes are counted.
    """
    items_counter, counter = metrics.HTTP_ITEMS_SENT.labels(way), metrics.HTTP_BYTES_SENT.labels(way)
    found = _pieces(objects, pieces)
    async with aclosing(read_ahead(found, _READ_AHEAD) if objects.remote else found) as items:
        async for item in items:
            if isinstance(item, Begins):
                items_counter.inc()
            else:
                counter.inc(len(item))
            yield item


async def _pieces(objects: Objects, pieces: AsyncIterator[P]) -> AsyncGenerator[Begins[P] | Bytes, None]:
    async for span in spans(pieces):
        chunks = read_range(objects, span.key, span.start, span.stop - span.start)
        async with aclosing(chunks):
            cutter = Cutter(chunks)
            position = span.start
            for member in span.members:
                await cutter.skip(member.offset - position)
                # What can not be read is told before the part begins, while the answer can still be an error.
                if member.length:
                    await cutter.fill()
                yield Begins(member)
                async for piece in cutter.take(member.length):
                    yield piece
                position = member.offset + member.length


async def read_range(objects: Objects, key: str, offset: int, length: int) -> AsyncGenerator[Bytes, None]:
    """Yield exactly `length` bytes of an object; raises `Unreadable` when it is absent or shorter."""
    left = length
    stream = objects.stream(key, offset, length)
    try:
        async for chunk in stream:
            left -= len(chunk)
            yield chunk
    except (ObjectNotFound, Invalid) as error:
        raise Unreadable(f"the index names {length} bytes at {offset} of {key}, the object store: {error}") from None
    finally:
        # An abandoned stream would keep its file or connection until it is collected.
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    if left:
        raise Unreadable(f"{key} ends {left} bytes before the index says so")


class Cutter:
    """Cuts a stream of chunks into pieces of given lengths, without copying."""

    def __init__(self, chunks: AsyncIterator[Bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    async def fill(self) -> None:
        """Wait until there are bytes to take."""
        if not self._rest:
            self._rest = memoryview(await anext(self._chunks))

    async def take(self, length: int) -> AsyncIterator[memoryview]:
        """Yield the next `length` bytes."""
        while length:
            await self.fill()
            piece = self._rest[:length]
            self._rest = self._rest[len(piece) :]
            length -= len(piece)
            yield piece

    async def skip(self, length: int) -> None:
        """Pass over the next `length` bytes."""
        async for _ in self.take(length):
            pass
