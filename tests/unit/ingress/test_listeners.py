"""The ports of `ingress`: plain, secure, or both."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from osteon.bus.memory import MemoryBus
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.requestor import Remote, RequestedContext, associate
from osteon.dimse.tls import client_context
from osteon.errors import Invalid, OsteonError
from osteon.objects.folder import FolderObjects
from osteon.settings import DicomSettings, TlsSettings
from osteon_ingress.build import build_embedded
from osteon_ingress.listeners import open_listeners
from osteon_ingress.settings import IngressServiceSettings
from support.dimse.raw_peer import IMPLICIT, SUCCESS, VERIFICATION, RecordingHandler
from support.services.certificates import CertificateAuthority, needs_openssl
from support.services.embedded import embedded

ECHO = RequestedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,))


def doors(acceptor: Acceptor, **settings: Any) -> AbstractAsyncContextManager[Any]:
    tls = TlsSettings(**{"dicom_tls_port": 0, **settings})
    return open_listeners(acceptor, "127.0.0.1", DicomSettings(dicom_port=0), tls)


@pytest.fixture
def acceptor() -> Acceptor:
    return Acceptor(AcceptorConfig(), lambda info: RecordingHandler())


async def test_without_a_certificate_there_is_the_plain_port_only(acceptor: Acceptor) -> None:
    async with doors(acceptor) as ports:
        assert list(ports) == ["dicom"]
    await acceptor.close()


@needs_openssl
@pytest.mark.parametrize("plain", [True, False])
async def test_with_a_certificate_there_is_a_secure_port_and_the_plain_one_may_be_off(
    acceptor: Acceptor, tmp_path: Path, plain: bool
) -> None:
    ca = CertificateAuthority(tmp_path)
    pair = ca.sign()
    files = {"dicom_tls_certificate": str(pair.certificate), "dicom_tls_key": str(pair.key)}
    async with doors(acceptor, dicom_tls_ca=str(ca.certificate), dicom_plaintext_enabled=plain, **files) as ports:
        assert set(ports) == ({"dicom", "dicom_tls"} if plain else {"dicom_tls"})
        tls = client_context(pair.files(ca))
        remote = Remote(aet="OSTEON", host="127.0.0.1", port=ports["dicom_tls"], tls=tls)
        async with associate(remote, [ECHO]) as association:
            assert await association.echo() == SUCCESS
    await acceptor.close()


async def test_without_any_port_the_start_says_so(acceptor: Acceptor) -> None:
    with pytest.raises(Invalid, match="OSTEON_DICOM_PLAINTEXT_ENABLED"):
        async with doors(acceptor, dicom_plaintext_enabled=False):
            pass


@needs_openssl
async def test_a_secure_port_that_is_taken_is_named(acceptor: Acceptor, tmp_path: Path) -> None:
    pair = CertificateAuthority(tmp_path).sign()
    files = {"dicom_tls_certificate": str(pair.certificate), "dicom_tls_key": str(pair.key)}
    taken = await acceptor.start("127.0.0.1", 0)
    with pytest.raises(OsteonError, match="OSTEON_DICOM_TLS_PORT"):
        async with doors(acceptor, dicom_tls_port=taken, **files):
            pass
    await acceptor.close()


async def test_the_service_does_not_start_with_files_that_it_cannot_use(tmp_path: Path) -> None:
    settings = IngressServiceSettings(spool_dir=tmp_path / "spool", dicom_port=0, dicom_tls_certificate="/nowhere.pem")
    bus = MemoryBus()
    await bus.start()
    with pytest.raises(Invalid, match=r"OSTEON_DICOM_TLS_CERTIFICATE: /nowhere\.pem: No such file"):
        async with embedded(build_embedded, settings, bus=bus, objects=FolderObjects(tmp_path)):
            pass
    await bus.close(grace=1)
