"""Settings of DICOM TLS, and contexts that follow their files."""

import asyncio
import shutil
import ssl
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from osteon import tls
from osteon.dimse.tls import TlsFiles
from osteon.errors import Invalid
from osteon.metrics import TLS_EXPIRY, TLS_RELOADS
from osteon.settings import TlsSettings
from support.metric_values import value
from support.services.certificates import CertificateAuthority, CertificatePair, needs_openssl

pytestmark = needs_openssl


class Folder:
    """Files where the settings say, which tests replace."""

    def __init__(self, folder: Path) -> None:
        self.ca = CertificateAuthority(folder)
        self.certificate, self.key, self.trusted = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
        shutil.copy(self.ca.certificate, self.trusted)

    def put(self, pair: CertificatePair) -> None:
        shutil.copy(pair.key, self.key)
        shutil.copy(pair.certificate, self.certificate)

    def settings(self, **changes: object) -> TlsSettings:
        files = {"certificate": self.certificate, "key": self.key, "ca": self.trusted}
        return TlsSettings(**{f"dicom_tls_{part}": str(path) for part, path in files.items()} | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.put(made.ca.sign("first"))
    return made


def presented(context: ssl.SSLContext) -> str:
    """Return the common name of the certificate that a context presents."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(up, down, server_side=True)
    asks = client.wrap_bio(down, up)
    for side in (asks, server, asks):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    der = asks.getpeercert(binary_form=True) or b""
    return next(name for name in ("first", "second") if name.encode() in der)


def test_without_a_certificate_there_is_no_secure_port() -> None:
    assert tls.acceptor(TlsSettings()) is None


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, ssl.CERT_REQUIRED),
        ({"dicom_tls_ca": ""}, ssl.CERT_NONE),
        ({"dicom_tls_clients": "optional"}, ssl.CERT_OPTIONAL),
        ({"dicom_tls_clients": "none"}, ssl.CERT_NONE),
    ],
    ids=["a CA", "no CA", "optional", "none"],
)
def test_clients_must_show_a_certificate_as_soon_as_there_is_a_ca(
    folder: Folder, changes: dict[str, str], mode: ssl.VerifyMode
) -> None:
    role = tls.acceptor(folder.settings(**changes))
    assert role is not None
    assert role.context().verify_mode is mode


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"dicom_tls_key": "/nowhere"}, "OSTEON_DICOM_TLS_KEY: /nowhere"),
        ({"dicom_tls_certificate": "/nowhere"}, "OSTEON_DICOM_TLS_CERTIFICATE: /nowhere"),
        ({"dicom_tls_ca": "", "dicom_tls_clients": "required"}, "OSTEON_DICOM_TLS_CA"),
    ],
    ids=["key", "certificate", "ca"],
)
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    folder: Folder, changes: dict[str, str], variable: str
) -> None:
    role = tls.acceptor(folder.settings(**changes))
    assert role is not None
    with pytest.raises(Invalid, match=variable):
        role.context()


def test_a_requestor_shows_the_acceptors_certificate_unless_it_has_its_own(folder: Folder) -> None:
    assert tls.requestor(TlsSettings()).files == TlsFiles()
    shared = tls.requestor(folder.settings())
    assert shared.files == TlsFiles(certificate=str(folder.certificate), key=str(folder.key), ca=str(folder.trusted))
    own = tls.requestor(folder.settings(dicom_tls_client_certificate="/own.pem", dicom_tls_client_ca="/ca.pem"))
    assert own.files == TlsFiles(certificate="/own.pem", ca="/ca.pem")
    with pytest.raises(Invalid, match=r"OSTEON_DICOM_TLS_CLIENT_CERTIFICATE: /own\.pem"):
        own.context()


@pytest.mark.parametrize("check", [True, False])
def test_a_requestor_always_verifies_and_checks_the_host_unless_told_otherwise(folder: Folder, check: bool) -> None:
    context = tls.requestor(folder.settings(dicom_tls_check_host=check)).context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, check)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_new_certificate_is_taken_without_a_restart(folder: Folder) -> None:
    role = tls.acceptor(folder.settings())
    assert role is not None
    reloads = TLS_RELOADS.labels(role="acceptor", result="ok")
    before = value(reloads)
    async with tls.reloaded_context(role, every=0.01) as context:
        first = context()
        assert presented(first) == "first"
        await asyncio.sleep(0.05)
        assert context() is first
        folder.put(folder.ca.sign("second"))
        async with asyncio.timeout(20):
            while presented(context()) != "second":
                await asyncio.sleep(0.01)
    assert value(reloads) > before


def test_broken_files_leave_the_former_ones_in_use_until_they_are_mended(folder: Folder) -> None:
    role = tls.acceptor(folder.settings())
    assert role is not None
    failures = TLS_RELOADS.labels(role="acceptor", result="failed")
    before = value(failures)
    reloader = tls.TlsReloader(role)
    second = folder.ca.sign("second")
    shutil.copy(second.key, folder.key)  # its certificate is still to come
    with capture_logs() as lines:
        reloader.reload_if_changed()
        reloader.reload_if_changed()
    assert presented(reloader()) == "first"
    assert value(failures) - before == 2
    assert ["OSTEON_DICOM_TLS_KEY" in line["reason"] for line in lines] == [True]
    folder.certificate.unlink()
    reloader.reload_if_changed()
    assert presented(reloader()) == "first"
    shutil.copy(second.certificate, folder.certificate)
    reloader.reload_if_changed()
    assert presented(reloader()) == "second"


def test_a_link_that_is_switched_is_a_change_as_kubernetes_makes_it(folder: Folder, tmp_path: Path) -> None:
    for name in ("first", "second"):
        pair = folder.ca.sign(name)
        (tmp_path / name).mkdir()
        shutil.copy(pair.certificate, tmp_path / name / "tls.crt")
        shutil.copy(pair.key, tmp_path / name / "tls.key")
    link = tmp_path / "..data"
    link.symlink_to(tmp_path / "first")
    role = tls.acceptor(
        folder.settings(dicom_tls_certificate=str(link / "tls.crt"), dicom_tls_key=str(link / "tls.key"))
    )
    assert role is not None
    reloader = tls.TlsReloader(role)
    (tmp_path / "next").symlink_to(tmp_path / "second")
    (tmp_path / "next").replace(link)
    reloader.reload_if_changed()
    assert presented(reloader()) == "second"


def test_a_metric_tells_when_the_certificate_expires(folder: Folder) -> None:
    tls.TlsReloader(tls.requestor(folder.settings()))
    days = (value(TLS_EXPIRY.labels(role="requestor")) - time.time()) / 86_400
    assert days == pytest.approx(30, abs=0.1)
