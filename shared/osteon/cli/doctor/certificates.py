"""Probe of TLS: the certificate files that settings name, and what broker, object store and database present."""

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from yarl import URL

from osteon import tls
from osteon.cli.doctor.report import Findings
from osteon.dimse.tls import first_certificate
from osteon.errors import Invalid
from osteon.settings import (
    BusSettings,
    DispatcherSettings,
    IndexSettings,
    ObjectSettings,
    ProcessSettings,
    SpoolSettings,
    TlsSettings,
)
from osteon.x509_validity import not_after

SOON: Final = timedelta(days=30)
_SECONDS: Final = 5.0
_SSL_REQUEST: Final = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's question whether it speaks TLS; it answers S or N."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that a setting says is reached by TLS, and the files for it; empty: those of the system, or none."""

    variable: str
    host: str
    port: int
    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True
    postgres: bool = False


def check(settings: ProcessSettings, findings: Findings) -> None:
    """Check the files of DICOM TLS and the certificate of each endpoint that uses TLS."""
    roles = list(_roles(settings))
    for role in roles:
        _check_files(role, findings)
    endpoints = list(_endpoints(settings))
    for endpoint in endpoints:
        findings.doing = f"checking {endpoint.host}:{endpoint.port} ({endpoint.variable})"
        context = _context(endpoint, findings)
        if context is not None:
            _check_endpoint(endpoint, context, findings)
    if not endpoints and not roles:
        findings.ok("no setting enables TLS")


def _roles(settings: ProcessSettings) -> Iterator[tls.Role]:
    """Iterate over the roles that files are configured for: `ingress` has the acceptor, `dispatcher` the requestor."""
    if not isinstance(settings, TlsSettings):
        return
    if isinstance(settings, SpoolSettings) and (acceptor := tls.acceptor(settings)):
        yield acceptor
    if isinstance(settings, DispatcherSettings) and (requestor := tls.requestor(settings)).files.names:
        yield requestor


def _check_files(role: tls.Role, findings: Findings) -> None:
    findings.doing = f"reading the files of DICOM TLS ({role.name})"
    try:
        role.context()
    except Invalid as error:
        findings.fail(f"{role.name}: {error}", "Give PEM files that fit, readable by Osteon's user (docs/tls.md).")
        return
    for part, name in (("certificate", role.files.certificate), ("ca", role.files.ca)):
        if name:
            _expiry(_first(Path(name)), f"{role.name}: {name} ({role.variables[part]})", findings)


def _endpoints(settings: ProcessSettings) -> Iterator[Endpoint]:
    if isinstance(settings, BusSettings):
        url = URL(settings.amqp_url.get_secret_value())
        if url.scheme == "amqps":
            ca, certificate, key = (url.query.get(name, "") for name in ("cafile", "certfile", "keyfile"))
            verify = url.query.get("no_verify_ssl", "0") == "0"
            yield Endpoint("OSTEON_AMQP_URL", url.host or "", url.port or 5671, ca, certificate, key, verify)
    if isinstance(settings, ObjectSettings) and settings.s3_secure:
        s3 = URL(f"https://{settings.s3_endpoint}")
        yield Endpoint("OSTEON_S3_ENDPOINT", s3.host or "", s3.port or 443, os.environ.get("SSL_CERT_FILE", ""))
    if isinstance(settings, IndexSettings):
        yield from _database(settings)


def _database(settings: IndexSettings) -> Iterator[Endpoint]:
    url = URL(settings.database_url.get_secret_value())
    query = url.query
    mode = query.get("sslmode", "")
    if mode in ("require", "verify-ca", "verify-full"):
        ca, certificate, key = (query.get(name, "") for name in ("sslrootcert", "sslcert", "sslkey"))
        port = url.port or 5432
        verify = mode != "require"
        yield Endpoint("OSTEON_DATABASE_URL", url.host or "", port, ca, certificate, key, verify, postgres=True)


def _context(endpoint: Endpoint, findings: Findings) -> ssl.SSLContext | None:
    """Return the way to connect as Osteon does, None when one of its files cannot be used."""
    context = ssl.create_default_context()
    if endpoint.ca and not _file(endpoint.ca, endpoint.variable, findings):
        return None
    try:
        if endpoint.ca:
            context.load_verify_locations(endpoint.ca)
        if endpoint.certificate:
            if not _file(endpoint.certificate, endpoint.variable, findings):
                return None
            context.load_cert_chain(endpoint.certificate, endpoint.key or None)
            _expiry(_first(Path(endpoint.certificate)), f"client certificate {endpoint.certificate}", findings)
    except (OSError, ValueError, Invalid) as error:  # ssl.SSLError is an OSError
        reason = "key and certificate do not belong together" if "MISMATCH" in str(error) else str(error)
        findings.fail(
            f"{endpoint.variable}: {endpoint.certificate or endpoint.ca}: {reason}", "Give PEM files that fit."
        )
        return None
    return context


def _file(name: str, variable: str, findings: Findings) -> bool:
    if os.access(name, os.R_OK):
        return True
    findings.fail(f"{variable}: the file {name} cannot be read", f"Provide it, readable by user {os.geteuid()}.")
    return False


def _first(pem: Path) -> bytes:
    """Return the first certificate of a file, which is the one presented; raises `ValueError` without any."""
    return ssl.PEM_cert_to_DER_cert(first_certificate(pem))


def _check_endpoint(endpoint: Endpoint, context: ssl.SSLContext, findings: Findings) -> None:
    where = f"{endpoint.host}:{endpoint.port} ({endpoint.variable})"
    try:
        certificate = _presented(endpoint, context)
    except ssl.SSLCertVerificationError as error:
        _refused(endpoint, f"{where}: {error.verify_message}", findings)
    except (OSError, Invalid) as error:
        findings.fail(f"{where}: no TLS: {error}", "Does that port speak TLS? Correct the port, or set it up there.")
    else:
        _expiry(certificate, where, findings)


def _refused(endpoint: Endpoint, what: str, findings: Findings) -> None:
    fix = "Renew it there; or name the CA that signed it (cafile=, sslrootcert=, SSL_CERT_FILE)."
    if endpoint.verify:
        findings.fail(what, fix)
    else:
        findings.warn(f"{what}; the settings accept it anyway", fix)


def _presented(endpoint: Endpoint, context: ssl.SSLContext) -> bytes:
    with socket.create_connection((endpoint.host, endpoint.port), timeout=_SECONDS) as plain:
        if endpoint.postgres:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                raise Invalid("PostgreSQL has no TLS (ssl = on in postgresql.conf)")
        with context.wrap_socket(plain, server_hostname=endpoint.host) as secure:
            return secure.getpeercert(binary_form=True) or b""


def _expiry(certificate: bytes, what: str, findings: Findings) -> None:
    until = not_after(certificate)
    left = until - datetime.now(UTC)
    if left < timedelta():
        findings.fail(f"{what}: expired on {until:%Y-%m-%d}", "Renew it.")
    elif left < SOON:
        findings.warn(f"{what}: expires on {until:%Y-%m-%d}", "Renew it.")
    else:
        findings.ok(f"{what}: valid until {until:%Y-%m-%d}")
