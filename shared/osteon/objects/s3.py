"""Objects in an S3 bucket, by the `minio` client in threads of its own.

What was stored is whole: the store refuses a body that is shorter than announced, over HTTP also one that differs from
the signed SHA-256, and after each upload its size is asked for and compared. An MD5 is not computed for that: it would
cost more than the upload, and encrypted buckets do not return it.

A call fails within seconds when the store does not answer, because the caller has a better plan for retrying.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from minio import Minio
from minio.error import S3Error
from minio.helpers import check_bucket_name
from urllib3.exceptions import ProtocolError
from urllib3.response import BaseHTTPResponse

from osteon.errors import Invalid
from osteon.objects.keys import check_key, check_prefix, check_range
from osteon.objects.port import ObjectInfo, ObjectNotFound, ObjectsUnavailable
from osteon.objects.s3_errors import CLIENT_ERRORS, bucket_is_there, no_bucket, translate
from osteon.objects.s3_pool import SteadyPool
from osteon.settings import ObjectSettings

PART_SIZE = 64 << 20
"""Up to this size one request stores an object, which is twice as fast as parts of 5 MiB."""
CHUNK = 1 << 20
_LISTED_AT_ONCE = 1000

T = TypeVar("T")


class S3Objects:
    """The port `Objects` on a bucket, which is made when absent.

    At most `threads` requests run at once, and at most `uploads` of them store objects, each holding one part of up
    to 64 MiB in memory. Raises `Invalid` when the endpoint or the bucket's name can not be used.
    """

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
    ) -> None:
        self._bucket = bucket
        self._where = f"{endpoint}/{bucket}"

        def client(pool: SteadyPool) -> Minio:
            return Minio(endpoint, access_key or None, secret_key, secure=secure, region=region, http_client=pool)

        try:
            check_bucket_name(bucket, strict=True)
            self._client = client(SteadyPool(threads, connect_timeout, read_timeout))
            self._prober = client(SteadyPool(1, connect_timeout, connect_timeout))
        except ValueError as error:
            raise Invalid(f"OSTEON_S3_ENDPOINT={endpoint}, OSTEON_S3_BUCKET={bucket}: {error}") from None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._uploads = asyncio.Semaphore(uploads)
        self._made = False

    @classmethod
    def from_settings(cls, settings: ObjectSettings, *, threads: int = 16, uploads: int = 4) -> "S3Objects":
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
        )

    async def put_file(self, key: str, path: Path) -> None:
        """Upload the file. Raises `FileNotFoundError` when `path` is absent."""

        def upload() -> None:
            with path.open("rb") as source:
                self._upload(key, source, source.seek(0, io.SEEK_END))

        await self._store(key, upload)

    async def put(self, key: str, data: bytes) -> None:
        """Store `data` durably, replacing what was there."""
        await self._store(key, lambda: self._upload(key, io.BytesIO(data), len(data)))

    async def get(self, key: str) -> bytes:
        """Return a whole (small) object; raises `ObjectNotFound`."""
        check_key(key)
        return await self._run(key, lambda: _drain(self._open(key, 0, None)))

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; raises `ObjectNotFound`, or `Invalid` beyond the end."""
        check_key(key)
        return await self._run(key, lambda: _drain(self._open(key, offset, length)))

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Iterate in chunks of at most 1 MiB; the first step raises `ObjectNotFound`, or `Invalid` beyond the end."""
        check_key(key)
        response = await self._run(key, lambda: self._open(key, offset, length))
        if response is None:
            return
        try:
            while chunk := await self._in_thread(key, lambda: response.read(CHUNK)):
                yield chunk
        finally:
            _close(response)

    async def size(self, key: str) -> int:
        """Return the object's length in bytes; raises `ObjectNotFound`."""
        check_key(key)
        return await self._run(key, lambda: self._size(key))

    async def delete(self, key: str) -> None:
        """Delete the object; an absent one is no error."""
        check_key(key)
        try:
            await self._run(key, lambda: self._client.remove_object(self._bucket, key))
        except ObjectNotFound:
            return

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Iterate over the objects whose key starts with `prefix`, a page of 1000 at a time."""
        check_prefix(prefix)
        found = self._client.list_objects(self._bucket, prefix, recursive=True)
        while batch := await self._run(prefix, lambda: list(islice(found, _LISTED_AT_ONCE))):
            for entry in batch:
                yield ObjectInfo(entry.object_name, entry.size, entry.last_modified)

    async def check(self) -> None:
        """Raise `ObjectsUnavailable` with what is wrong when the store can not be used now; makes the bucket."""
        await self._in_thread("check", lambda: self._make_bucket(self._prober))

    def close(self) -> None:
        """Give up the threads and connections; requests in flight come to their end unheard."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _store(self, key: str, upload: Callable[[], None]) -> None:
        check_key(key)
        async with self._uploads:
            await self._run(key, upload)

    def _upload(self, key: str, source: BinaryIO, size: int) -> None:
        source.seek(0)
        self._client.put_object(self._bucket, key, source, size, part_size=PART_SIZE, num_parallel_uploads=1)
        stored = self._size(key)
        if stored != size:
            raise ObjectsUnavailable(f"the object store {self._where} kept {stored} of {size} bytes of {key!r}")

    def _open(self, key: str, offset: int, length: int | None) -> BaseHTTPResponse | None:
        """Return the response with exactly the range as its body, or None for a valid range without bytes."""
        if offset < 0 or (length is not None and length < 1):
            check_range(key, self._size(key), offset, length)
            return None
        try:
            response = self._client.get_object(self._bucket, key, offset, length or 0)
        except S3Error as error:
            if error.code != "InvalidRange":
                raise
            check_range(key, self._size(key), offset, length)
            return None
        try:
            self._check_response(key, response, offset, length)
        except BaseException:
            _close(response)
            raise
        return response

    def _check_response(self, key: str, response: BaseHTTPResponse, offset: int, length: int | None) -> None:
        if offset and response.status != HTTPStatus.PARTIAL_CONTENT:
            raise ObjectsUnavailable(f"the object store {self._where} ignores the header Range")
        got = int(response.headers["Content-Length"])
        if length is not None and got != length:
            check_range(key, self._size(key), offset, length)
            raise ObjectsUnavailable(f"the object store {self._where} sends {got} of {length} bytes of {key!r}")

    def _size(self, key: str) -> int:
        return self._client.stat_object(self._bucket, key).size or 0

    def _make_bucket(self, client: Minio) -> None:
        if not client.bucket_exists(self._bucket):
            try:
                client.make_bucket(self._bucket)
            except S3Error as error:
                if not bucket_is_there(error):
                    raise
        self._made = True

    async def _run(self, what: str, work: Callable[[], T]) -> T:
        """Do `work`, which can be repeated, in a thread: again at once when it met a connection that was closed."""

        def with_bucket() -> T:
            if not self._made:
                self._make_bucket(self._client)
            return work()

        def again() -> T:
            try:
                return with_bucket()
            except (ProtocolError, S3Error) as error:
                if isinstance(error, S3Error) and not no_bucket(error):
                    raise
                self._made = self._made and not no_bucket(error)
            return with_bucket()

        return await self._in_thread(what, again)

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except CLIENT_ERRORS as error:
            raise translate(error, where=self._where, what=what) from error


def _drain(response: BaseHTTPResponse | None) -> bytes:
    if response is None:
        return b""
    try:
        return response.read()
    finally:
        _close(response)


def _close(response: BaseHTTPResponse) -> None:
    """Give the connection back; one with bytes left unread is closed first."""
    response.close()
    response.release_conn()
