"""DICOM TLS: contexts, the secure port of the acceptor and TLS of the requestor, on asyncio's loop and on uvloop."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import uvloop
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from structlog.testing import capture_logs

from osteon.dimse.observer import AssociationEnd
from osteon.dimse.requestor import AssociationAborted, ConnectFailed, Remote, RequestedContext, associate
from osteon.dimse.tls import (
    ClientCertificates,
    TlsContextProvider,
    TlsFiles,
    TlsUnusable,
    client_context,
    server_context,
)
from support.dimse.pynetdicom_acceptor import accepting
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    SUCCESS,
    VERIFICATION,
    ObserverLog,
    RawPeer,
    RecordingHandler,
    RunningAcceptor,
    running,
)
from support.services.certificates import CertificateAuthority, CertificatePair, needs_openssl

pytestmark = needs_openssl
ECHO = RequestedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,))
STORE = RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,))
OLD = {ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1}


@dataclass(frozen=True)
class TwoAuthorities:
    """Two CAs and what they signed."""

    ca: CertificateAuthority
    other: CertificateAuthority
    archive: CertificatePair
    scanner: CertificatePair
    stranger: CertificatePair
    expired: CertificatePair

    def server(self, clients: ClientCertificates = ClientCertificates.REQUIRED) -> ssl.SSLContext:
        return server_context(self.archive.files(self.ca), clients)

    def client(self, pair: CertificatePair | None = None) -> ssl.SSLContext:
        return client_context((pair or self.scanner).files(self.ca))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TwoAuthorities:
    folder = tmp_path_factory.mktemp("tls")
    ca, other = CertificateAuthority(folder, "Hospital"), CertificateAuthority(folder, "Elsewhere")
    return TwoAuthorities(
        ca, other, ca.sign("archive"), ca.sign("scanner"), other.sign("stranger"), ca.sign("old", expired=True)
    )


@pytest.fixture(params=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[None, None, None]], None]]:
    """Run a coroutine on a loop of its own."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@asynccontextmanager
async def secured(
    context: ssl.SSLContext | TlsContextProvider, handler: RecordingHandler | None = None, **config: object
) -> AsyncIterator[RunningAcceptor]:
    """Run an acceptor with a plain port and a secure one, which is the `port`."""
    tls = (lambda: context) if isinstance(context, ssl.SSLContext) else context
    async with running(handler, **config) as service:
        port = await service.acceptor.start("127.0.0.1", 0, tls)
        yield replace(service, port=port)


def remote(port: int, tls: ssl.SSLContext | None) -> Remote:
    return Remote(aet="OSTEON", host="127.0.0.1", port=port, tls=tls, timeout=20)


async def ended(log: ObserverLog) -> AssociationEnd:
    """Wait for the end of the first connection without an association."""
    async with asyncio.timeout(20):
        while not log.unuseds:
            await asyncio.sleep(0.01)
    return log.unuseds[0]


async def whole(data: bytes) -> AsyncIterator[memoryview]:
    for at in range(0, len(data), 100_000):
        yield memoryview(data)[at : at + 100_000]


def test_a_data_set_arrives_over_tls_as_it_was_sent(world: TwoAuthorities, on_loop: Callable[..., None]) -> None:
    data = bytes(range(256)) * 16_000

    async def check() -> None:
        async with secured(world.server()) as service, associate(remote(service.port, world.client()), [STORE]) as a:
            context = a.context_for(CT)
            for number in range(3):
                assert await a.store(context, CT, f"1.2.{number}", whole(data), length=len(data)) == SUCCESS
        assert [bytes(sink.data) for sink in service.handler.sinks] == [data] * 3

    on_loop(check())


def test_reading_waits_for_a_slow_disk_over_tls(world: TwoAuthorities, on_loop: Callable[..., None]) -> None:
    data = bytes(3 << 20)

    async def slow() -> None:
        await asyncio.sleep(0.001)

    async def check() -> None:
        handler = RecordingHandler(on_write=lambda sink: slow())
        async with (
            secured(world.server(), handler) as service,
            associate(remote(service.port, world.client()), [STORE]) as association,
        ):
            context = association.context_for(CT)
            assert await association.store(context, CT, "1.2.3", whole(data), length=len(data)) == SUCCESS
        assert bytes(handler.sinks[0].data) == data

    on_loop(check())


def test_both_ports_serve_at_the_same_time_and_share_the_limit(
    world: TwoAuthorities, on_loop: Callable[..., None]
) -> None:
    async def check() -> None:
        async with (
            running(max_associations=1) as service,
            associate(remote(service.port, None), [ECHO]) as plain,
        ):
            port = await service.acceptor.start("127.0.0.1", 0, world.server)
            with pytest.raises(Exception, match="local limit exceeded"):
                async with associate(remote(port, world.client()), [ECHO]):
                    pass
            assert await plain.echo() == SUCCESS

    on_loop(check())


def test_bytes_that_come_one_at_a_time_are_understood(world: TwoAuthorities, on_loop: Callable[..., None]) -> None:
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(4096):
                for byte in data:
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.close()

    async def check() -> None:
        async with secured(world.server()) as service:

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                inner, outer = await asyncio.open_connection("127.0.0.1", service.port)
                await asyncio.gather(dribble(reader, outer), dribble(inner, writer))

            server = await asyncio.start_server(relay, "127.0.0.1", 0)
            async with server:
                port = server.sockets[0].getsockname()[1]
                async with associate(remote(port, world.client()), [ECHO]) as association:
                    assert await association.echo() == SUCCESS

    on_loop(check())


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("nobody", "peer did not return a certificate"),
        ("stranger", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
    ],
)
def test_who_does_not_show_a_good_certificate_is_refused_with_the_reason(
    world: TwoAuthorities, on_loop: Callable[..., None], who: str, why: str
) -> None:
    files = TlsFiles(ca=str(world.ca.certificate)) if who == "nobody" else getattr(world, who).files(world.ca)

    async def check() -> None:
        async with secured(world.server()) as service:
            with pytest.raises(AssociationAborted, match=r"certificate|unknown ca") as error:
                async with associate(remote(service.port, client_context(files)), [ECHO]):
                    pass
            assert "alert" in str(error.value)
            assert await ended(service.log) is AssociationEnd.INSECURE
        assert not service.log.accepts

    with capture_logs() as lines:
        on_loop(check())
    assert why in str(lines)


def test_a_certificate_may_be_missing_but_not_bad_when_it_is_optional(
    world: TwoAuthorities, on_loop: Callable[..., None]
) -> None:
    nobody = client_context(TlsFiles(ca=str(world.ca.certificate)))

    async def check() -> None:
        async with secured(world.server(ClientCertificates.OPTIONAL)) as service:
            async with associate(remote(service.port, nobody), [ECHO]) as association:
                assert await association.echo() == SUCCESS
            with pytest.raises(AssociationAborted):
                async with associate(remote(service.port, world.client(world.stranger)), [ECHO]):
                    pass

    on_loop(check())


async def test_a_requestor_refuses_an_acceptor_of_another_ca_another_host_or_another_time(
    world: TwoAuthorities,
) -> None:
    elsewhere = world.ca.sign("elsewhere", "DNS:pacs.example.org")
    cases = [(world.stranger, "certificate"), (elsewhere, "IP address mismatch"), (world.expired, "expired")]
    for pair, why in cases:
        async with secured(server_context(pair.files(), ClientCertificates.NONE)) as service:
            with pytest.raises(ConnectFailed, match=why):
                async with associate(remote(service.port, world.client()), [ECHO]):
                    pass
    async with secured(server_context(elsewhere.files(), ClientCertificates.NONE)) as service:
        lenient = client_context(world.scanner.files(world.ca), check_host=False)
        async with associate(remote(service.port, lenient), [ECHO]) as association:
            assert await association.echo() == SUCCESS


@pytest.mark.parametrize("version", sorted(OLD), ids=lambda version: version.name)
def test_older_versions_of_tls_are_refused(
    world: TwoAuthorities, version: ssl.TLSVersion, on_loop: Callable[..., None]
) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(world.ca.certificate)
    old.load_cert_chain(world.scanner.certificate, world.scanner.key)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = version

    async def check() -> None:
        async with secured(world.server()) as service:
            with pytest.raises(ConnectFailed, match="protocol version"):
                async with associate(remote(service.port, old), [ECHO]):
                    pass
            assert await ended(service.log) is AssociationEnd.INSECURE

    on_loop(check())


@pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256"])
async def test_suites_without_forward_secrecy_or_authenticated_encryption_are_refused(
    world: TwoAuthorities, suite: str
) -> None:
    weak = world.client()
    weak.set_ciphers(suite)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    async with secured(world.server()) as service:
        with pytest.raises(ConnectFailed, match="handshake failure"):
            async with associate(remote(service.port, weak), [ECHO]):
                pass


def test_tls_1_2_works_with_every_suite_that_is_offered(world: TwoAuthorities, on_loop: Callable[..., None]) -> None:
    async def check() -> None:
        async with secured(world.server()) as service:
            for suite in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"):
                tls = world.client()
                tls.set_ciphers(suite)
                tls.maximum_version = ssl.TLSVersion.TLSv1_2
                async with associate(remote(service.port, tls), [ECHO]) as association:
                    assert await association.echo() == SUCCESS

    on_loop(check())


def test_plain_bytes_to_the_secure_port_are_refused_at_once(
    world: TwoAuthorities, on_loop: Callable[..., None]
) -> None:
    async def check() -> None:
        async with secured(world.server()) as service:
            with pytest.raises(AssociationAborted):
                async with associate(remote(service.port, None), [ECHO]):
                    pass
            assert await ended(service.log) is AssociationEnd.INSECURE

    with capture_logs() as lines:
        on_loop(check())
    assert "the peer does not speak TLS" in str(lines)


async def test_tls_to_the_plain_port_fails_with_the_reason(world: TwoAuthorities) -> None:
    async with running() as service:
        with pytest.raises(ConnectFailed, match="does not speak TLS"):
            async with associate(remote(service.port, world.client()), [ECHO]):
                pass
        assert await ended(service.log) is AssociationEnd.PROTOCOL_ERROR


def test_a_handshake_that_does_not_end_is_cut_by_artim(world: TwoAuthorities, on_loop: Callable[..., None]) -> None:
    async def check() -> None:
        async with secured(world.server(), artim_timeout=0.2) as service:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(b"\x16\x03\x01\x02\x00\x01")
            assert await reader.read() == b""
            assert await ended(service.log) is AssociationEnd.TIMED_OUT
            writer.close()

    on_loop(check())


def test_an_association_that_is_not_requested_after_the_handshake_is_cut_by_artim(
    world: TwoAuthorities, on_loop: Callable[..., None]
) -> None:
    async def check() -> None:
        async with secured(world.server(), artim_timeout=0.3) as service:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port, ssl=world.client())
            assert await reader.read() == b""
            assert await ended(service.log) is AssociationEnd.TIMED_OUT
            writer.close()

    on_loop(check())


def test_half_handshakes_by_the_hundred_are_bounded_and_keep_no_other_out(
    world: TwoAuthorities, on_loop: Callable[..., None]
) -> None:
    async def check() -> None:
        async with secured(world.server(), max_waiting=20) as service:
            half = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(300)]
            for _, writer in half:
                writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01")
            async with associate(remote(service.port, world.client()), [ECHO]) as association:
                assert await association.echo() == SUCCESS
            async with asyncio.timeout(20):
                while len(service.log.unuseds) < 280:
                    await asyncio.sleep(0.01)
            assert set(service.log.unuseds) == {AssociationEnd.CROWDED_OUT}
            for _, writer in half:
                writer.close()

    on_loop(check())


@pytest.mark.parametrize("cut", [0, 1, 5, 100])
def test_a_peer_that_vanishes_in_its_handshake_leaves_nothing_behind(
    world: TwoAuthorities, on_loop: Callable[..., None], cut: int
) -> None:
    async def check() -> None:
        async with secured(world.server()) as service:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            hello = world.client().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            with suppress(ssl.SSLWantReadError):
                hello.do_handshake()
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(outgoing.read()[:cut])
            writer.close()
            assert await ended(service.log) is AssociationEnd.LOST
            assert not service.acceptor.connections

    on_loop(check())


def test_garbage_in_an_association_ends_it(world: TwoAuthorities, on_loop: Callable[..., None]) -> None:
    async def check() -> None:
        async with secured(world.server()) as service:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port, ssl=world.client())
            peer = RawPeer(reader, writer)
            await peer.associate()
            raw = writer.get_extra_info("socket")
            socket.socket(fileno=socket.dup(raw.fileno())).send(b"\x17\x03\x03\x00\x20" + bytes(32))
            await asyncio.wait_for(service.handler.ended.wait(), 20)
            assert service.log.ends == [AssociationEnd.LOST]
            writer.transport.abort()

    on_loop(check())


def test_an_association_ends_by_a_close_that_tls_can_tell_from_a_cut(
    world: TwoAuthorities, on_loop: Callable[..., None]
) -> None:
    async def check() -> None:
        async with secured(world.server()) as service:

            def talk() -> bytes:
                plain = socket.create_connection(("127.0.0.1", service.port), timeout=20)
                with world.client().wrap_socket(
                    plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False
                ) as secure:
                    secure.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")  # A-ABORT
                    return secure.recv(10)  # raises SSLEOFError without close_notify

            assert await asyncio.to_thread(talk) == b""

    on_loop(check())


async def test_a_new_context_holds_for_new_connections_while_associations_go_on(world: TwoAuthorities) -> None:
    contexts = [world.server()]
    async with (
        secured(lambda: contexts[-1]) as service,
        associate(remote(service.port, world.client()), [ECHO]) as first,
    ):
        contexts.append(server_context(world.stranger.files(world.other)))
        with pytest.raises(ConnectFailed, match="certificate"):
            async with associate(remote(service.port, world.client()), [ECHO]):
                pass
        assert await first.echo() == SUCCESS


@pytest.mark.slow
def test_closing_the_acceptor_aborts_secure_associations(world: TwoAuthorities, on_loop: Callable[..., None]) -> None:
    async def check() -> None:
        async with secured(world.server()) as service:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port, ssl=world.client())
            peer = RawPeer(reader, writer)
            await peer.associate()
            closing = asyncio.create_task(service.acceptor.close())
            assert [kind for kind, _ in await peer.everything()] == [7]
            await peer.close()
            await closing
            assert not service.acceptor.connections

    on_loop(check())


async def test_pynetdicom_associates_by_tls(world: TwoAuthorities) -> None:
    async with secured(world.server()) as service:

        def echo() -> int:
            entity = AE("PYNET")
            entity.add_requested_context(VERIFICATION, ImplicitVRLittleEndian)
            tls = ssl.create_default_context(cafile=str(world.ca.certificate))
            tls.load_cert_chain(world.scanner.certificate, world.scanner.key)
            association = entity.associate("127.0.0.1", service.port, tls_args=(tls, "127.0.0.1"))
            assert association.is_established
            status = association.send_c_echo().Status
            association.release()
            return int(status)

        assert await asyncio.to_thread(echo) == 0


async def test_pynetdicom_is_associated_with_by_tls(world: TwoAuthorities) -> None:
    entity = AE("PYNET")
    entity.add_supported_context(VERIFICATION, ImplicitVRLittleEndian)
    with accepting(entity, tls=world.server()) as port:
        async with associate(remote(port, world.client()), [ECHO]) as association:
            assert await association.echo() == SUCCESS


@pytest.mark.parametrize(
    ("part", "change", "why"),
    [
        ("certificate", {"certificate": ""}, "needs a certificate"),
        ("certificate", {"certificate": "/nowhere.pem"}, "No such file"),
        ("key", {"key": "/nowhere.pem"}, "No such file"),
        ("ca", {"ca": ""}, "needed to check"),
        ("ca", {"ca": "{key}"}, "no CA certificates"),
        ("certificate", {"certificate": "{key}"}, "cannot be used as PEM"),
        ("key", {"key": "{ca}"}, "cannot be used as PEM"),
        ("key", {"key": "{other}"}, "is not the key of"),
    ],
    ids=["none", "no file", "no key file", "no ca", "ca without certificate", "no certificate", "no key", "other key"],
)
def test_files_that_cannot_be_used_are_named(
    world: TwoAuthorities, part: str, change: dict[str, str], why: str
) -> None:
    names = {"key": world.archive.key, "ca": world.ca.certificate, "other": world.scanner.key}
    files = replace(world.archive.files(world.ca), **{name: value.format(**names) for name, value in change.items()})
    with pytest.raises(TlsUnusable, match=why) as error:
        server_context(files)
    assert error.value.part == part


def test_a_key_with_a_password_is_refused_instead_of_asking_for_it(world: TwoAuthorities, tmp_path: Path) -> None:
    import subprocess

    locked = tmp_path / "locked.key"
    command = ["openssl", "pkcs8", "-topk8", "-passout", "pass:secret", "-in", str(world.archive.key)]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True)
    with pytest.raises(TlsUnusable, match="password"):
        server_context(replace(world.archive.files(world.ca), key=str(locked)))
