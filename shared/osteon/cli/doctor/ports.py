"""Probe of the ports that a service listens on: each is free, or Osteon itself has it."""

import errno
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Final

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from osteon.cli.doctor.report import Findings
from osteon.dicom.uids import IMPLEMENTATION_CLASS_UID
from osteon.dimse.tls import first_certificate
from osteon.settings import DicomSettings, HttpSettings, ProcessSettings, SpoolSettings, StandaloneSettings, TlsSettings

_SECONDS: Final = 3.0
_DICOM: Final = "OSTEON_DICOM_PORT"
_DICOM_TLS: Final = "OSTEON_DICOM_TLS_PORT"


def check(settings: ProcessSettings, findings: Findings) -> None:
    """Look at each port; one of 0 takes a free one."""
    for variable, port in _ports(settings):
        findings.doing = f"trying port {port} ({variable})"
        if port:
            _check_port(settings, port, variable, findings)


def _ports(settings: ProcessSettings) -> Iterator[tuple[str, int]]:
    if isinstance(settings, DicomSettings) and isinstance(settings, SpoolSettings):
        if not isinstance(settings, TlsSettings) or settings.dicom_plaintext_enabled:
            yield _DICOM, settings.dicom_port
        if isinstance(settings, TlsSettings) and settings.dicom_tls_certificate:
            yield _DICOM_TLS, settings.dicom_tls_port
    if isinstance(settings, HttpSettings):
        yield "OSTEON_HTTP_PORT", settings.http_port
    if not isinstance(settings, StandaloneSettings):
        yield "OSTEON_HEALTH_PORT", settings.health_port


def _check_port(settings: ProcessSettings, port: int, variable: str, findings: Findings) -> None:
    host = settings.bind
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets may be bound to a port with SO_REUSEADDR, but only one may listen.
            probe.listen(1)
        except OSError as error:
            _explain(error, settings, port, variable, findings)
            return
    findings.ok(f"{host}:{port} ({variable}) is free")


def _explain(error: OSError, settings: ProcessSettings, port: int, variable: str, findings: Findings) -> None:
    host = settings.bind
    match error.errno:
        case errno.EADDRINUSE if _is_osteon(settings, port, variable):
            findings.ok(f"{host}:{port} ({variable}) is in use by Osteon, which is running")
        case errno.EADDRINUSE:
            findings.fail(
                f"{host}:{port} ({variable}) is used by another program", f"ss -ltnp 'sport = :{port}' names it."
            )
        case errno.EACCES:
            allow = f"sysctl net.ipv4.ip_unprivileged_port_start={port}"
            findings.fail(
                f"{host}:{port} ({variable}) needs privileges", f"{allow}, or set {variable} to 1024 or more."
            )
        case _:
            findings.fail(
                f"{host}:{port} ({variable}): {error.strerror}", "Set OSTEON_BIND to an address of this host."
            )


def _is_osteon(settings: ProcessSettings, port: int, variable: str) -> bool:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.bind, settings.bind)  # noqa: S104  (not bound)
    if variable == _DICOM and isinstance(settings, DicomSettings):
        return _echoes(settings, reached, port)
    if variable == _DICOM_TLS and isinstance(settings, TlsSettings):
        return _presents(Path(settings.dicom_tls_certificate), reached, port)
    return _measures(reached, port)


def _echoes(settings: DicomSettings, host: str, port: int) -> bool:
    """Whether an association is answered with Osteon's implementation class UID (PS3.7 D.3.3.2)."""
    entity = AE(next(iter(settings.allowed_aets), "OSTEON-DOCTOR"))
    entity.add_requested_context(Verification)
    entity.connection_timeout = entity.acse_timeout = entity.network_timeout = _SECONDS
    association = entity.associate(host, port, ae_title=settings.aet)
    try:
        return str(association.acceptor.implementation_class_uid) == IMPLEMENTATION_CLASS_UID
    finally:
        association.abort()


def _presents(certificate: Path, host: str, port: int) -> bool:
    """Whether the port presents this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is compared
    try:
        own = ssl.PEM_cert_to_DER_cert(first_certificate(certificate))
        with (
            socket.create_connection((host, port), timeout=_SECONDS) as plain,
            context.wrap_socket(plain) as secure,
        ):
            return secure.getpeercert(binary_form=True) == own
    except (OSError, ValueError):
        return False


def _measures(host: str, port: int) -> bool:
    """Whether the port serves Osteon's metrics."""
    target = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{target}:{port}/metrics", timeout=_SECONDS) as answer:
            return b"osteon_" in answer.read(1 << 20)
    except (OSError, ValueError, HTTPException):
        return False
