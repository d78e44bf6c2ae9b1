"""One S3 bucket by the `minio` client, blocking: what `S3Objects` does in its threads.

What was stored is whole and unchanged. An upload by one request carries a CRC-32 (x-amz-checksum-crc32), which a store
that knows it checks and repeats in its answer; if it is not repeated, the object's size is compared. Of an upload in
several parts, the ETag (the MD5 of the parts' MD5s) is compared.

The one request is made here, and signed by the client's signer: the client itself would read the whole file into memory
and take its SHA-256 (over HTTPS its MD5), which costs four times as much as all of the upload.
"""

import base64
import hashlib
import io
import zlib
from collections.abc import Mapping
from http import HTTPStatus
from itertools import islice
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit, urlunsplit

from minio import Minio
from minio.credentials.credentials import Credentials
from minio.datatypes import Object
from minio.error import InvalidResponseError, MinioException, S3Error
from minio.helpers import DictType, check_bucket_name
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow
from urllib3.response import BaseHTTPResponse

from osteon.errors import Invalid
from osteon.objects.keys import check_range
from osteon.objects.port import ObjectInfo, ObjectsUnavailable
from osteon.objects.s3_errors import bucket_is_there, no_bucket
from osteon.objects.s3_pool import SteadyPool

AT_ONCE = 256 << 20
"""Up to this size one request stores an object, which costs half of what parts cost; full packs are below."""
PART_SIZE = 64 << 20
_LISTED_AT_ONCE = 1000
_HASHED_AT_ONCE = 1 << 20
_CRC32 = "x-amz-checksum-crc32"
_BINARY = "application/octet-stream"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_ENCRYPTION = "x-amz-server-side-encryption"


class Bucket:
    """A bucket that is made at the first use. Raises the errors of the client and those of the port.

    An empty `region` is requested from the store. What is longer than `at_once` bytes is sent in parts of `part_size`.
    Raises `Invalid` when endpoint or name cannot be used.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        name: str,
        *,
        secure: bool,
        region: str,
        pool: SteadyPool,
        at_once: int = AT_ONCE,
        part_size: int = PART_SIZE,
    ) -> None:
        self.where = f"{endpoint}/{name}"
        self._name = name
        self._made = False
        self._pool = pool
        self._credentials = Credentials(access_key, secret_key) if access_key else None
        self._at_once = at_once
        self._part_size = part_size
        try:
            check_bucket_name(name, strict=True)
            self._client = Minio(
                endpoint, access_key or None, secret_key, secure=secure, region=region or None, http_client=pool
            )
        except ValueError as error:
            raise Invalid(f"OSTEON_S3_ENDPOINT={endpoint}, OSTEON_S3_BUCKET={name}: {error}") from None

    def upload(self, key: str, source: BinaryIO) -> None:
        """Store the bytes of a file; when they are sent in parts, one part is in memory."""
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        if size > self._at_once:
            self._upload_parts(key, source, size)
        else:
            self._upload_at_once(key, source, size)

    def _upload_at_once(self, key: str, source: BinaryIO, size: int) -> None:
        sent = base64.b64encode(_crc32(source).to_bytes(4, "big")).decode()
        source.seek(0)
        response = self._put(key, source, {"Content-Length": str(size), "Content-Type": _BINARY, _CRC32: sent})
        if response.status != HTTPStatus.OK:
            raise _refusal(response)
        if response.headers.get(_CRC32, "") != sent:
            self._check_size(key, size)

    def _put(self, key: str, source: BinaryIO, headers: DictType) -> BaseHTTPResponse:
        # The client knows the URL of the object and, within the credential's scope, its region.
        presigned = urlsplit(self._client.get_presigned_url("PUT", self._name, key))
        url = presigned._replace(query="")
        if self._credentials is not None:
            date = utcnow()
            headers |= {"Host": url.netloc, "x-amz-content-sha256": _UNSIGNED, "x-amz-date": to_amz_date(date)}
            headers = sign_v4_s3(
                method="PUT",
                url=url,
                region=parse_qs(presigned.query)["X-Amz-Credential"][0].split("/")[-3],
                headers=headers,
                credentials=self._credentials,
                content_sha256=_UNSIGNED,
                date=date,
            )
        return self._pool.urlopen("PUT", urlunsplit(url), redirect=False, body=source, headers=headers)

    def _upload_parts(self, key: str, source: BinaryIO, size: int) -> None:
        expected = _etag_of_parts(source, self._part_size)
        source.seek(0)
        result = self._client.put_object(
            self._name, key, source, size, part_size=self._part_size, num_parallel_uploads=1
        )
        headers: Mapping[str, str] = result.http_headers or {}
        encrypted = headers.get(_ENCRYPTION, "").startswith("aws:kms")
        if result.etag != expected and not encrypted:  # an encrypted bucket's ETags are not MD5s
            raise ObjectsUnavailable(f"the object store {self.where} stored other bytes of {key!r} than were sent")
        self._check_size(key, size)

    def _check_size(self, key: str, size: int) -> None:
        stored = self.size(key)
        if stored != size:
            raise ObjectsUnavailable(f"the object store {self.where} stored {stored} of {size} bytes of {key!r}")

    def open(self, key: str, offset: int, length: int | None) -> BaseHTTPResponse | None:
        """Return the response with exactly the range as its body, or None for a valid range without bytes."""
        if offset < 0 or (length is not None and length < 1):
            check_range(key, self.size(key), offset, length)
            return None
        try:
            response = self._client.get_object(self._name, key, offset, length or 0)
        except S3Error as error:
            if error.code != "InvalidRange":
                raise
            check_range(key, self.size(key), offset, length)
            return None
        try:
            self._check_range_response(key, response, offset, length)
        except BaseException:
            release_response(response)
            raise
        return response

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of a range, or of the whole object."""
        response = self.open(key, offset, length)
        if response is None:
            return b""
        try:
            return response.read()
        finally:
            release_response(response)

    def size(self, key: str) -> int:
        """Return the object's length in bytes."""
        return self._client.stat_object(self._name, key).size or 0

    def delete(self, key: str) -> None:
        """Delete the object, if it is there."""
        try:
            self._client.remove_object(self._name, key)
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise

    def page(self, prefix: str, after: str | None) -> list[ObjectInfo]:
        """Return the first objects with the prefix that the store lists after the key `after`."""
        entries = self._client.list_objects(self._name, prefix, recursive=True, start_after=after)
        return [_info(entry) for entry in islice(entries, _LISTED_AT_ONCE)]

    def exists(self) -> bool:
        """Whether the bucket is there."""
        return self._client.bucket_exists(self._name)

    def remove(self) -> None:
        """Remove the bucket; the store refuses that while anything is in it."""
        self._client.remove_bucket(self._name)
        self._made = False

    def make(self) -> None:
        """Make the bucket unless it is there."""
        if not self.exists():
            try:
                self._client.make_bucket(self._name)
            except S3Error as error:
                if not bucket_is_there(error):
                    raise
        self._made = True

    def make_once(self) -> None:
        """Make the bucket at the first use, and again after `lost`."""
        if not self._made:
            self.make()

    def forget_if_missing(self, error: Exception) -> bool:
        """Whether the error says that the bucket is gone, so that it must be made again."""
        if not no_bucket(error):
            return False
        self._made = False
        return True

    def _check_range_response(self, key: str, response: BaseHTTPResponse, offset: int, length: int | None) -> None:
        if offset and response.status != HTTPStatus.PARTIAL_CONTENT:
            raise ObjectsUnavailable(f"the object store {self.where} ignores the header Range")
        received = int(response.headers["Content-Length"])
        if length is not None and received != length:
            check_range(key, self.size(key), offset, length)
            raise ObjectsUnavailable(f"the object store {self.where} sends {received} of {length} bytes of {key!r}")


def release_response(response: BaseHTTPResponse) -> None:
    """Return the connection to its pool; one with bytes left unread is closed first."""
    response.close()
    response.release_conn()


def _crc32(source: BinaryIO) -> int:
    checksum = 0
    while block := source.read(_HASHED_AT_ONCE):
        checksum = zlib.crc32(block, checksum)
    return checksum


def _refusal(response: BaseHTTPResponse) -> MinioException:
    if response.headers.get("Content-Type", "").startswith("application/xml"):
        return S3Error.fromxml(response)
    body = response.data.decode("utf-8", "replace")
    return InvalidResponseError(response.status, response.headers.get("Content-Type"), body)


def _etag_of_parts(source: BinaryIO, part_size: int) -> str:
    digests = []
    while True:
        digest, left = hashlib.md5(usedforsecurity=False), part_size
        while left and (block := source.read(min(_HASHED_AT_ONCE, left))):
            digest.update(block)
            left -= len(block)
        if left == part_size:
            break
        digests.append(digest.digest())
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _info(entry: Object) -> ObjectInfo:
    assert entry.object_name is not None
    assert entry.last_modified is not None
    return ObjectInfo(entry.object_name, entry.size or 0, entry.last_modified)
