"""The one item type of retrieval streams: an `ItemStart`, then the chunks of that item, then the next start."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from osteon import metrics
from osteon.objects.port import Bytes


@dataclass(frozen=True, slots=True)
class SentInstance:
    """An instance as it is sent: transcoding with loss gives it another SOP Instance UID."""

    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class ItemStart:
    """A file, frame, value or picture begins; the chunks up to the next start are its bytes.

    Multipart writes `media_type`, `length` in bytes when it is known, and `location`, the item's own URL. A ZIP archive
    writes `name`, with slashes between folders. `instance`: whose file it is.
    """

    media_type: str = ""
    length: int | None = None
    location: str = ""
    name: str = ""
    instance: "SentInstance | None" = None


Item = ItemStart | Bytes
ItemStream = AsyncGenerator[Item, None]


class SentCounter:
    """Counts the items and bytes of a stream under the label `purpose`."""

    def __init__(self, purpose: str) -> None:
        self._items = metrics.HTTP_ITEMS_SENT.labels(purpose)
        self._bytes = metrics.HTTP_BYTES_SENT.labels(purpose)

    def count(self, item: Item) -> None:
        """Count a start as an item, and a chunk by its bytes."""
        if isinstance(item, ItemStart):
            self._items.inc()
        else:
            self._bytes.inc(len(item))


async def one_chunk(data: Bytes) -> AsyncGenerator[Bytes, None]:
    """Yield bytes that are in memory already."""
    yield data


async def single_item(start: ItemStart, content: AsyncGenerator[Bytes, None]) -> ItemStream:
    """Yield the start of one item, then its chunks."""
    yield start
    async with aclosing(content):
        async for chunk in content:
            yield chunk


async def content_of(items: ItemStream, purpose: str) -> AsyncGenerator[Bytes, None]:
    """Yield the bytes of all items without their starts, and count both."""
    counter = SentCounter(purpose)
    async with aclosing(items):
        async for item in items:
            counter.count(item)
            if not isinstance(item, ItemStart):
                yield item


async def count_bytes(source: AsyncGenerator[Bytes, None], purpose: str) -> AsyncGenerator[Bytes, None]:
    """Pass chunks on and count their bytes under the label `purpose`."""
    counter = metrics.HTTP_BYTES_SENT.labels(purpose)
    async with aclosing(source):
        async for chunk in source:
            counter.inc(len(chunk))
            yield chunk
