"""The object store as services see it. Keys are `/`-separated; an object is complete or absent, never partial."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from osteon.errors import Invalid, NotFound, Unavailable

Bytes = bytes | memoryview


class ObjectsUnavailable(Unavailable):
    """The store does not answer, or answered that it cannot serve now."""


class ObjectNotFound(NotFound):
    """There is no object under this key."""


class BadObjectKey(Invalid):
    """The key cannot name an object in every store (`osteon.objects.keys`)."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a listing. `size` in bytes, `modified` in UTC."""

    key: str
    size: int
    modified: datetime


class FileTail(Protocol):
    """What an object has from byte `start` on, instead of what the file has there."""

    @property
    def start(self) -> int:
        """Bytes of the file that the object begins with."""

    @property
    def data(self) -> bytes:
        """What follows them."""


class Objects(Protocol):
    """Put, get, range, list, delete. Every method raises `ObjectsUnavailable` when the store cannot be reached.

    A put that raised may still have happened, or happen later: give a key to one content only.
    """

    remote: bool
    """Whether reading waits for a network, so that reading ahead pays."""

    async def put_file(self, key: str, path: Path, tail: FileTail | None = None) -> None:
        """Store the file at `path` durably, in one write, with what a `tail` puts in the place of its own end.

        The file may become the object, and then ends with the tail too: never write to it again. Raises
        `FileNotFoundError` when there is no such file.
        """

    async def put(self, key: str, data: bytes) -> None:
        """Store `data` durably, replacing what was there."""

    async def get(self, key: str, offset: int = 0) -> bytes:
        """Return a (small) object from `offset` to its end; raises `ObjectNotFound`, or `Invalid` beyond the end."""

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; raises `ObjectNotFound`, or `Invalid` beyond the end."""

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[Bytes]:
        """Iterate over the bytes in chunks of at most 1 MiB.

        The first step raises `ObjectNotFound`, or `Invalid` when the range goes beyond the end; a later one raises
        `ObjectsUnavailable` when the bytes stop coming, so what was iterated to its end is whole.
        """

    async def size(self, key: str) -> int:
        """Return the object's length in bytes; raises `ObjectNotFound`."""

    def path(self, key: str) -> Path | None:
        """Return the file in which the object is, if it is there, for reading only; None when objects are not files."""

    async def delete(self, key: str) -> None:
        """Delete the object; an absent one is not an error."""

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Iterate over the objects whose key starts with `prefix`.

        Those below one `folder/` come together; beyond that the order is the store's (in SeaweedFS `1.2/` comes
        before `1.2.3/`, in other S3 servers after it).
        """

    async def check(self) -> None:
        """Raise `ObjectsUnavailable` with what is wrong when the store cannot be used now (for `/readyz`)."""
