"""What the settings of DICOM TLS mean, and contexts that are reloaded with their files, without a restart."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osteon import metrics
from osteon.background import background
from osteon.dimse.tls import (
    ClientCertificates,
    TlsContextProvider,
    TlsFiles,
    TlsUnusable,
    client_context,
    first_certificate,
    server_context,
)
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.settings import TlsSettings
from osteon.x509_validity import not_after

RELOAD_SECONDS: Final = 5.0
"""Seconds between two checks of the files."""
_Signature = tuple[tuple[int, int, int] | None, ...]
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Role:
    """How one side does TLS; `variables` are the settings that name the files, by field of `TlsFiles`."""

    name: str
    files: TlsFiles
    variables: Mapping[str, str]
    make: Callable[[], ssl.SSLContext]

    def context(self) -> ssl.SSLContext:
        """Read the files. Blocks; raises `Invalid`, which names the setting."""
        try:
            return self.make()
        except TlsUnusable as error:
            raise Invalid(f"{self.variables[error.part]}: {error.detail}") from None


def acceptor(settings: TlsSettings) -> Role | None:
    """Return how the TLS port works; None without a certificate, as there is no such port then."""
    files = TlsFiles(certificate=settings.dicom_tls_certificate, key=settings.dicom_tls_key, ca=settings.dicom_tls_ca)
    if not files.certificate:
        return None
    clients = ClientCertificates(
        settings.dicom_tls_clients or (ClientCertificates.REQUIRED if files.ca else ClientCertificates.NONE)
    )
    return Role("acceptor", files, _variables("OSTEON_DICOM_TLS"), lambda: server_context(files, clients))


def requestor(settings: TlsSettings) -> Role:
    """Return how modalities are called that require TLS."""
    own = bool(settings.dicom_tls_client_certificate)
    variables = _variables("OSTEON_DICOM_TLS_CLIENT" if own else "OSTEON_DICOM_TLS")
    ca = "OSTEON_DICOM_TLS_CLIENT_CA" if settings.dicom_tls_client_ca else "OSTEON_DICOM_TLS_CA"
    files = TlsFiles(
        certificate=settings.dicom_tls_client_certificate or settings.dicom_tls_certificate,
        key=settings.dicom_tls_client_key if own else settings.dicom_tls_key,
        ca=settings.dicom_tls_client_ca or settings.dicom_tls_ca,
    )
    check = settings.dicom_tls_check_host
    return Role("requestor", files, {**variables, "ca": ca}, lambda: client_context(files, check_host=check))


def _variables(prefix: str) -> dict[str, str]:
    return {part: f"{prefix}_{part.upper()}" for part in ("certificate", "key", "ca")}


class TlsReloader:
    """The context of a role, reloaded when its files change. While those are unusable, the last one stays."""

    def __init__(self, role: Role) -> None:
        """Read the files. Blocks; raises `Invalid`."""
        self._role = role
        self._problem = ""
        self._seen = _signature(role.files)
        self._context = self._load()

    def __call__(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._context

    def reload_if_changed(self) -> None:
        """Read the files again if they have changed. Blocks."""
        seen = _signature(self._role.files)
        if seen == self._seen:
            return
        try:
            self._context = self._load()
        except (Invalid, OSError) as error:
            # Certificate and key are seldom written at once: retried at each check, logged once.
            metrics.TLS_RELOADS.labels(role=self._role.name, result="failed").inc()
            if str(error) != self._problem:
                log.error("TLS files not reloaded", role=self._role.name, reason=str(error))
            self._problem = str(error)
            return
        self._seen, self._problem = seen, ""
        metrics.TLS_RELOADS.labels(role=self._role.name, result="ok").inc()
        log.info("TLS files reloaded", role=self._role.name, files=self._role.files.names)

    async def reload_forever(self, every: float) -> None:
        """Check the files every so many seconds."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.reload_if_changed)

    def _load(self) -> ssl.SSLContext:
        context = self._role.context()
        if self._role.files.certificate:
            until = expiry(self._role.files.certificate)
            metrics.TLS_EXPIRY.labels(role=self._role.name).set(until)
        return context


def expiry(certificate: str) -> float:
    """Return when the first certificate in a PEM file expires, in seconds since 1970. Raises `Invalid`, `OSError`."""
    pem = first_certificate(Path(certificate))
    try:
        return not_after(ssl.PEM_cert_to_DER_cert(pem)).timestamp()
    except ValueError:
        raise Invalid(f"{certificate}: no certificate in PEM") from None


@asynccontextmanager
async def reloaded_context(role: Role, *, every: float = RELOAD_SECONDS) -> AsyncIterator[TlsContextProvider]:
    """Yield what returns the context for each new connection. Raises `Invalid` when the files are unusable now."""
    reloader = await asyncio.to_thread(TlsReloader, role)
    async with background(reloader.reload_forever(every)):
        yield reloader


def _signature(files: TlsFiles) -> _Signature:
    return tuple(_stat(name) for name in files.names)


def _stat(name: str) -> tuple[int, int, int] | None:
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
