"""Asynchronous streams in chunks, as `itertools.batched` cuts other iterables."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def in_chunks(items: AsyncIterable[T], size: int) -> AsyncIterator[list[T]]:
    """Iterate over lists of `size` items; the last one may be shorter, and none is empty."""
    chunk: list[T] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
