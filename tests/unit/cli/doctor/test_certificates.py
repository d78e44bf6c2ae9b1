"""The probe of TLS, on real certificates made for the test."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from osteon.cli.doctor import certificates, ports
from osteon.cli.doctor.report import Findings
from osteon.errors import Invalid
from osteon.settings import (
    BusSettings,
    DicomSettings,
    IndexSettings,
    ObjectSettings,
    ProcessSettings,
    SpoolSettings,
    TlsSettings,
)
from osteon.x509_validity import not_after
from osteon_local.part import free_port
from support.cli.doctor import bad

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not here")


class Everything(ProcessSettings, BusSettings, ObjectSettings, IndexSettings):
    pass


def certificate(folder: Path, name: str, days: int = 365) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that it signed itself, and its key."""
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days)]
    made = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(["openssl", "req", "-x509", *subject, *kind, *made], check=True, capture_output=True)
    return paths


@contextmanager
def tls_server(pair: tuple[Path, Path], *, postgres: bool = False) -> Iterator[int]:
    """Shake hands with whoever connects."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                try:
                    if postgres:
                        plain.recv(8)
                        plain.sendall(b"S")
                    context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def look(**settings: object) -> Findings:
    findings = Findings("certificates")
    certificates.check(Everything(**settings), findings)  # type: ignore[arg-type]
    return findings


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"), "good")


def test_without_tls_there_is_nothing_to_look_at() -> None:
    assert [each.what for each in look().found] == ["no setting enables TLS"]


def test_the_end_of_a_certificate_is_read_as_openssl_reads_it(pair: tuple[Path, Path]) -> None:
    der = ssl.PEM_cert_to_DER_cert(pair[0].read_text())
    shown = subprocess.run(
        ["openssl", "x509", "-enddate", "-noout", "-in", str(pair[0])], check=True, capture_output=True, text=True
    ).stdout
    assert not_after(der).timestamp() == ssl.cert_time_to_seconds(shown.removeprefix("notAfter=").strip())


def test_bytes_that_are_no_certificate_are_refused_wherever_they_end(pair: tuple[Path, Path]) -> None:
    der = ssl.PEM_cert_to_DER_cert(pair[0].read_text())
    for size in range(0, len(der), 7):
        with pytest.raises(Invalid):
            not_after(der[:size])


def test_a_broker_with_a_trusted_certificate_is_in_order(pair: tuple[Path, Path]) -> None:
    with tls_server(pair) as port:
        findings = look(amqp_url=f"amqps://127.0.0.1:{port}/?cafile={pair[0]}")
    assert bad(findings.found) == []
    assert "valid until" in findings.found[0].what


def test_a_certificate_that_nobody_trusts_fails_with_the_reason(pair: tuple[Path, Path]) -> None:
    with tls_server(pair) as port:
        [wrong] = bad(look(s3_endpoint=f"127.0.0.1:{port}", s3_secure=True).found)
    assert wrong.startswith("FAIL")
    assert "self-signed certificate" in wrong


def test_a_certificate_that_soon_expires_is_warned_of(tmp_path: Path) -> None:
    soon = certificate(tmp_path, "soon", days=5)
    with tls_server(soon, postgres=True) as port:
        url = f"postgresql+psycopg://osteon@127.0.0.1:{port}/osteon?sslmode=verify-full&sslrootcert={soon[0]}"
        [wrong] = bad(look(database_url=url).found)
    assert wrong.startswith("WARN")
    assert "(OSTEON_DATABASE_URL): expires on" in wrong


def test_a_key_of_another_certificate_is_found(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    other = certificate(tmp_path, "other")
    url = f"amqps://127.0.0.1:{free_port()}/?cafile={pair[0]}&certfile={pair[0]}&keyfile={other[1]}"
    [wrong] = bad(look(amqp_url=url).found)
    assert "key and certificate do not belong together" in wrong


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    [wrong] = bad(look(amqp_url=f"amqps://127.0.0.1:{free_port()}/?cafile={tmp_path}/no.pem").found)
    assert f"OSTEON_AMQP_URL: the file {tmp_path}/no.pem cannot be read" in wrong


class TlsProbeSettings(ProcessSettings, SpoolSettings, TlsSettings):
    pass


def look_at_door(**settings: object) -> Findings:
    findings = Findings("certificates")
    certificates.check(TlsProbeSettings(**settings), findings)  # type: ignore[arg-type]
    return findings


def test_the_certificate_of_the_secure_port_is_looked_at(pair: tuple[Path, Path], tmp_path: Path) -> None:
    files = {"dicom_tls_certificate": str(pair[0]), "dicom_tls_key": str(pair[1])}
    [found] = look_at_door(**files).found
    assert found.what.startswith(f"acceptor: {pair[0]} (OSTEON_DICOM_TLS_CERTIFICATE): valid until")
    soon = certificate(tmp_path, "soon", days=10)
    files = {"dicom_tls_certificate": str(soon[0]), "dicom_tls_key": str(soon[1])}
    [wrong] = bad(look_at_door(**files).found)
    assert "expires on" in wrong


def test_a_key_of_another_certificate_of_the_secure_port_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = certificate(tmp_path, "other")
    [wrong] = bad(look_at_door(dicom_tls_certificate=str(pair[0]), dicom_tls_key=str(other[1])).found)
    assert wrong.startswith(f"FAIL acceptor: OSTEON_DICOM_TLS_KEY: {other[1]}: is not the key of")


def test_a_secure_port_that_presents_our_certificate_is_ours(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with tls_server(pair) as port:
        for files, ours in ((pair, True), (certificate(tmp_path, "another"), False)):
            findings = Findings("ports")
            settings = {
                "dicom_tls_port": port,
                "dicom_tls_certificate": str(files[0]),
                "dicom_plaintext_enabled": False,
            }
            ports.check(DoorPorts(health_port=0, **settings), findings)
            assert [each.what.endswith("is in use by Osteon, which is running") for each in findings.found] == [ours]


class DoorPorts(TlsProbeSettings, DicomSettings):
    pass
