"""Objects in an S3 bucket: the blocking client in threads of its own.

A call fails within seconds when the store does not answer, because the caller has a better plan for trying again.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from minio.error import S3Error
from urllib3.exceptions import ProtocolError

from osteon.objects.file_with_tail import FileWithTail
from osteon.objects.keys import check_key, check_prefix
from osteon.objects.object_metrics import measured
from osteon.objects.port import FileTail, ObjectInfo
from osteon.objects.s3_bucket import AT_ONCE, PART_SIZE, Bucket, release_response
from osteon.objects.s3_errors import CLIENT_ERRORS, translate
from osteon.objects.s3_pool import SteadyPool
from osteon.settings import ObjectSettings

CHUNK = 1 << 20

T = TypeVar("T")


class S3Objects:
    """The port `Objects` on a bucket, which is made when absent.

    At most `threads` requests run at once, and at most `uploads` of them store objects, each holding a MiB in memory,
    or a part of `part_size` bytes when the object is larger than `at_once`. Timeouts are in seconds. Raises `Invalid`
    when the endpoint or the bucket's name cannot be used.
    """

    remote = True

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        *,
        secure: bool = False,
        region: str = "us-east-1",
        threads: int = 16,
        uploads: int = 4,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        at_once: int = AT_ONCE,
        part_size: int = PART_SIZE,
    ) -> None:
        where = partial(Bucket, endpoint, access_key, secret_key, bucket, secure=secure, region=region)
        named = partial(where, at_once=at_once, part_size=part_size)
        self._bucket = named(pool=SteadyPool(threads, connect_timeout, read_timeout))
        self._probed = named(pool=SteadyPool(1, connect_timeout, connect_timeout))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._uploads = asyncio.Semaphore(uploads)

    @classmethod
    def from_settings(
        cls,
        settings: ObjectSettings,
        *,
        threads: int = 16,
        uploads: int = 4,
        at_once: int = AT_ONCE,
        part_size: int = PART_SIZE,
    ) -> "S3Objects":
        """Return the store that the settings name."""
        return cls(
            settings.s3_endpoint,
            settings.s3_access_key.get_secret_value(),
            settings.s3_secret_key.get_secret_value(),
            settings.s3_bucket,
            secure=settings.s3_secure,
            region=settings.s3_region,
            threads=threads,
            uploads=uploads,
            at_once=at_once,
            part_size=part_size,
        )

    async def put_file(self, key: str, path: Path, tail: FileTail | None = None) -> None:
        """Upload the file. Raises `FileNotFoundError` when `path` is absent."""

        def upload() -> None:
            with path.open("rb") as source:
                self._bucket.upload(key, FileWithTail(source, tail) if tail else source)

        await self._store("put_file", key, upload)

    async def put(self, key: str, data: bytes) -> None:
        """Store `data` durably, replacing what was there."""
        await self._store("put", key, lambda: self._bucket.upload(key, io.BytesIO(data)))

    async def get(self, key: str, offset: int = 0) -> bytes:
        """Return a (small) object from `offset` to its end; raises `ObjectNotFound`, or `Invalid` beyond the end."""
        check_key(key)
        return await self._run("get", key, lambda: self._bucket.read(key, offset))

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; raises `ObjectNotFound`, or `Invalid` beyond the end."""
        check_key(key)
        return await self._run("get_range", key, lambda: self._bucket.read(key, offset, length))

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Iterate in chunks of at most 1 MiB; the first step raises `ObjectNotFound`, or `Invalid` beyond the end."""
        check_key(key)
        response = await self._run("stream", key, lambda: self._bucket.open(key, offset, length))
        if response is None:
            return
        try:
            while chunk := await self._in_thread(key, partial(response.read, CHUNK)):
                yield chunk
        finally:
            # In a thread: closing waits for a read that may still hang there.
            asyncio.get_running_loop().run_in_executor(None, release_response, response)

    async def size(self, key: str) -> int:
        """Return the object's length in bytes; raises `ObjectNotFound`."""
        check_key(key)
        return await self._run("size", key, lambda: self._bucket.size(key))

    def path(self, key: str) -> None:
        """Objects are not files here."""
        check_key(key)

    async def delete(self, key: str) -> None:
        """Delete the object; an absent one is not an error."""
        check_key(key)
        await self._run("delete", key, lambda: self._bucket.delete(key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Iterate over the objects whose key starts with `prefix`, a page of 1000 at a time."""
        check_prefix(prefix)
        after: str | None = None
        while page := await self._run("list", prefix, partial(self._bucket.page, prefix, after)):
            for info in page:
                yield info
            after = page[-1].key

    async def check(self) -> None:
        """Raise `ObjectsUnavailable` with what is wrong when the store cannot be used now; makes the bucket."""
        with measured("check"):
            await self._in_thread("check", self._probed.make)

    async def has_bucket(self) -> bool:
        """Whether the bucket is there."""
        return await self._in_thread("bucket", self._probed.exists)

    async def remove_bucket(self) -> None:
        """Remove the bucket; raises `ObjectsUnavailable` when anything is in it."""
        await self._in_thread("bucket", self._bucket.remove)

    def close(self) -> None:
        """Close the threads and connections; requests in flight end without effect on callers."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _store(self, operation: str, key: str, upload: Callable[[], None]) -> None:
        check_key(key)
        with measured(operation):
            async with self._uploads:
                await self._twice(key, upload)

    async def _run(self, operation: str, what: str, work: Callable[[], T]) -> T:
        with measured(operation):
            return await self._twice(what, work)

    async def _twice(self, what: str, work: Callable[[], T]) -> T:
        """Do `work` in a thread; twice, when the first time met a connection that was closed or no bucket."""

        def attempt() -> T:
            self._bucket.make_once()
            return work()

        def attempts() -> T:
            try:
                return attempt()
            except ProtocolError:
                return attempt()
            except S3Error as error:
                if not self._bucket.forget_if_missing(error):
                    raise
                return attempt()

        return await self._in_thread(what, attempts)

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except CLIENT_ERRORS as error:
            raise translate(error, where=self._bucket.where, what=what) from error
