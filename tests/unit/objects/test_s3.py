"""How `S3Objects` meets a server that misbehaves: a scripted one in these tests."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from osteon.errors import Invalid, OsteonError
from osteon.objects.port import ObjectNotFound, ObjectsUnavailable
from osteon.objects.s3 import S3Objects
from osteon.settings import ObjectSettings
from support.objects.scripted_s3 import S3Request, fake_s3, response, s3_error

ETAG = {"ETag": '"0"', "Last_Modified": "Mon, 23 Nov 2026 10:00:00 GMT"}


@pytest.fixture
def made() -> Iterator[list[S3Objects]]:
    stores: list[S3Objects] = []
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def store(made: list[S3Objects]):
    def make(endpoint: str, **options: float) -> S3Objects:
        made.append(S3Objects(endpoint, "key", "secret", "bucket", **options))  # type: ignore[arg-type]
        return made[-1]

    return make


def on_object(answer: bytes | None):
    """Answer the bucket's questions with yes, and those about objects with `answer`."""
    return lambda request: response(200) if request.path.rstrip("/") == "/bucket" else answer


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (404, "NoSuchKey", ObjectNotFound, "a/key"),
        (400, "KeyTooLongError", Invalid, "KeyTooLongError"),
        (403, "AccessDenied", ObjectsUnavailable, "OSTEON_S3_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", ObjectsUnavailable, "OSTEON_S3_ACCESS_KEY"),
        (403, "SignatureDoesNotMatch", ObjectsUnavailable, "OSTEON_S3_SECRET_KEY"),
        (403, "RequestTimeTooSkewed", ObjectsUnavailable, "clocks"),
        (404, "NoSuchBucket", ObjectsUnavailable, "OSTEON_S3_BUCKET"),
        (400, "AuthorizationHeaderMalformed", ObjectsUnavailable, "OSTEON_S3_REGION"),
        (500, "InternalError", ObjectsUnavailable, "InternalError"),
        (503, "SlowDown", ObjectsUnavailable, "SlowDown"),
        (418, "NobodyKnows", ObjectsUnavailable, "NobodyKnows"),
    ],
)
async def test_a_refusal_says_what_it_means(
    store, status: int, code: str, error: type[OsteonError], words: str
) -> None:
    async with fake_s3(on_object(s3_error(status, code))) as server:
        with pytest.raises(error, match=words):
            await store(server.endpoint).get("a/key")


@pytest.mark.parametrize("status", [301, 400, 403, 409, 500, 501, 503])
async def test_a_refusal_without_a_body_is_unavailable(store, status: int) -> None:
    async with fake_s3(on_object(response(status))) as server:
        with pytest.raises(ObjectsUnavailable):
            await store(server.endpoint).size("a/key")
        with pytest.raises(ObjectsUnavailable):
            await store(server.endpoint).get("a/key")


async def test_a_server_that_is_not_s3_is_unavailable_and_names_the_setting(store) -> None:
    page = response(404, b"<html>Not here</html>", Content_Type="text/html")
    async with fake_s3(on_object(page)) as server:
        with pytest.raises(ObjectsUnavailable, match="OSTEON_S3_ENDPOINT"):
            await store(server.endpoint).get("a")


async def test_a_listing_that_is_no_xml_is_unavailable(store) -> None:
    async with fake_s3(lambda _: response(200, b"not xml", Content_Type="application/xml")) as server:
        with pytest.raises(ObjectsUnavailable):
            await anext(store(server.endpoint).list())


async def test_a_port_without_a_listener_is_unavailable(store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        objects = store(f"127.0.0.1:{taken.getsockname()[1]}")
        for call in (objects.check(), objects.get("a"), objects.put("a", b""), objects.delete("a")):
            with pytest.raises(ObjectsUnavailable, match="does not answer"):
                await call


async def test_a_kept_connection_that_the_server_closed_is_replaced_once(store) -> None:
    calls = count(1)

    def close_the_first(request: S3Request) -> bytes | None:
        if request.path.rstrip("/") == "/bucket":
            return response(200)
        return None if next(calls) == 1 else response(200, b"data", **ETAG)

    async with fake_s3(close_the_first) as server:
        assert await store(server.endpoint).get("a") == b"data"


async def test_a_server_that_closes_every_connection_is_unavailable(store) -> None:
    async with fake_s3(on_object(None)) as server:
        with pytest.raises(ObjectsUnavailable):
            await store(server.endpoint).get("a")
        assert [request.method for request in server.requests].count("GET") == 2


async def test_a_server_that_accepts_and_is_silent_gets_one_request(store) -> None:
    requests = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    objects = store(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", read_timeout=0.2)
    with pytest.raises(ObjectsUnavailable, match="timed out"):
        await objects.get("a")
    assert requests == 1
    server.close()


@pytest.mark.slow
async def test_a_body_that_ends_early_is_never_taken_as_whole(store) -> None:
    def half(request: S3Request) -> bytes | None:
        if request.path.rstrip("/") == "/bucket":
            return response(200)
        return response(200, b"x" * 1000, Content_Length="2000000", Connection="close", **ETAG)

    async with fake_s3(half) as server:
        with pytest.raises(ObjectsUnavailable):
            await store(server.endpoint, read_timeout=0.5).get("a")
        with pytest.raises(ObjectsUnavailable):
            async for _ in store(server.endpoint, read_timeout=0.5).stream("a"):
                pass


async def test_an_upload_of_which_the_store_kept_less_is_not_stored(store) -> None:
    def keep_less(request: S3Request) -> bytes:
        return response(200, **ETAG, **({"Content_Length": "3"} if request.method == "HEAD" else {}))

    async with fake_s3(keep_less) as server:
        with pytest.raises(ObjectsUnavailable, match="3 of 4 bytes"):
            await store(server.endpoint).put("a", b"data")


async def test_a_server_that_ignores_ranges_is_unavailable_instead_of_giving_other_bytes(store) -> None:
    async with fake_s3(on_object(response(200, b"0123456789", **ETAG))) as server:
        with pytest.raises(ObjectsUnavailable, match="Range"):
            await store(server.endpoint).get_range("a", 2, 10)
        with pytest.raises(ObjectsUnavailable):
            await store(server.endpoint).get_range("a", 0, 4)


async def test_the_bucket_is_made_when_absent_and_again_when_it_was_lost(store) -> None:
    buckets: set[str] = set()

    def serve(request: S3Request) -> bytes:
        path = request.path.split("?")[0].rstrip("/")
        if path == "/bucket":
            if request.method == "PUT":
                buckets.add(path)
            return response(200) if path in buckets else response(404)
        if "/bucket" not in buckets:
            return s3_error(404, "NoSuchBucket")
        return response(200, b"data", **ETAG)

    async with fake_s3(serve) as server:
        objects = store(server.endpoint)
        assert await objects.get("a") == b"data"
        buckets.clear()
        assert await objects.get("a") == b"data"
        buckets.clear()
        await objects.check()
        assert buckets


async def test_a_bucket_that_another_client_made_meanwhile_is_used(store) -> None:
    answers = {"HEAD": response(404), "PUT": s3_error(409, "BucketAlreadyOwnedByYou")}
    async with fake_s3(lambda request: answers[request.method]) as server:
        await store(server.endpoint).check()


async def test_a_bucket_of_another_owner_is_unavailable_and_names_the_setting(store) -> None:
    answers = {"HEAD": response(404), "PUT": s3_error(409, "BucketAlreadyExists")}
    async with fake_s3(lambda request: answers[request.method]) as server:
        with pytest.raises(ObjectsUnavailable, match="OSTEON_S3_BUCKET"):
            await store(server.endpoint).check()


async def test_uploads_share_a_limit_that_bounds_the_memory(store) -> None:
    size = 600 << 10

    def keep(request: S3Request) -> bytes:
        return response(200, **ETAG, **({"Content_Length": str(size)} if request.method == "HEAD" else {}))

    async with fake_s3(keep, block_seconds=0.01) as server:
        objects = store(server.endpoint, uploads=2)
        await asyncio.gather(*(objects.put(f"k{number}", bytes(size)) for number in range(8)))
        assert server.most_uploads_open == 2


@pytest.mark.slow
async def test_a_slow_but_steady_upload_outlasts_the_connect_timeout(store) -> None:
    size = 24 << 20

    def keep(request: S3Request) -> bytes:
        return response(200, **ETAG, **({"Content_Length": str(size)} if request.method == "HEAD" else {}))

    async with fake_s3(keep, block_seconds=0.02) as server:
        await store(server.endpoint, connect_timeout=0.6).put("a", bytes(size))
        assert len(next(request.body for request in server.requests if request.path == "/bucket/a")) == size


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that it signed itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not here")
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(["openssl", "req", "-x509", *subject, *made], check=True, capture_output=True)
    return paths


async def test_a_certificate_that_is_not_trusted_is_refused_and_a_trusted_one_is_not(
    made: list[S3Objects], certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    async with fake_s3(on_object(response(200, b"data", **ETAG)), tls=tls) as server:
        made.append(S3Objects(server.endpoint, "key", "secret", "bucket", secure=True))
        with pytest.raises(ObjectsUnavailable, match="certificate"):
            await made[0].get("a")
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        made.append(S3Objects(server.endpoint, "key", "secret", "bucket", secure=True))
        assert await made[1].get("a") == b"data"


@pytest.mark.parametrize(
    ("endpoint", "bucket", "name"),
    [
        ("http://127.0.0.1:8333", "bucket", "OSTEON_S3_ENDPOINT"),
        ("127.0.0.1:8333/path", "bucket", "OSTEON_S3_ENDPOINT"),
        ("127.0.0.1:8333", "Not A Bucket", "OSTEON_S3_BUCKET"),
        ("127.0.0.1:8333", "", "OSTEON_S3_BUCKET"),
    ],
)
def test_an_endpoint_or_bucket_that_cannot_be_used_is_named(endpoint: str, bucket: str, name: str) -> None:
    with pytest.raises(Invalid, match=name):
        S3Objects(endpoint, "key", "secret", bucket)


async def test_the_settings_name_the_store(made: list[S3Objects], monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_s3() as server:
        monkeypatch.setenv("OSTEON_S3_ENDPOINT", server.endpoint)
        monkeypatch.setenv("OSTEON_S3_ACCESS_KEY", "somebody")
        monkeypatch.setenv("OSTEON_S3_SECRET_KEY", "hush")
        monkeypatch.setenv("OSTEON_S3_BUCKET", "archive")
        monkeypatch.setenv("OSTEON_S3_REGION", "eu-south-9")
        made.append(S3Objects.from_settings(ObjectSettings()))
        await made[0].check()
        assert server.requests[0].path.rstrip("/") == "/archive"
        assert "somebody" in server.requests[0].headers["authorization"]
        assert "eu-south-9" in server.requests[0].headers["authorization"]
