"""What the settings of DICOM TLS mean, and contexts that follow their files: a new certificate needs no restart."""

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

LOOK_EVERY: Final = 5.0
"""Seconds between looks at the files."""
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
    """Return how the TLS port works, None when there is none because there is no certificate."""
    files = TlsFiles(certificate=settings.dicom_tls_certificate, key=settings.dicom_tls_key, ca=settings.dicom_tls_ca)
    if not files.certificate:
        return None
    clients = ClientCertificates(
        settings.dicom_tls_clients or (ClientCertificates.REQUIRED if files.ca else ClientCertificates.NONE)
    )
    return Role("acceptor", files, _variables("OSTEON_DICOM_TLS"), lambda: server_context(files, clients))


def requestor(settings: TlsSettings) -> Role:
    """Return how modalities are called that want TLS."""
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


class Following:
    """The context of a role, made anew when its files change. While they can not be used, the former one holds."""

    def __init__(self, role: Role) -> None:
        """Read the files. Blocks; raises `Invalid`."""
        self._role = role
        self._problem = ""
        self._seen = _signature(role.files)
        self._context = self._load()

    def __call__(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._context

    def look(self) -> None:
        """Read the files again if they have changed. Blocks."""
        seen = _signature(self._role.files)
        if seen == self._seen:
            return
        try:
            self._context = self._load()
        except (Invalid, OSError) as error:
            # Certificate and key are seldom written at once: tried again at each look, told once.
            metrics.TLS_RELOADS.labels(role=self._role.name, result="failed").inc()
            if str(error) != self._problem:
                log.error("tls_reload_failed", role=self._role.name, reason=str(error))
            self._problem = str(error)
            return
        self._seen, self._problem = seen, ""
        metrics.TLS_RELOADS.labels(role=self._role.name, result="ok").inc()
        log.info("tls_reloaded", role=self._role.name, files=self._role.files.names)

    async def follow(self, every: float) -> None:
        """Look at the files every so many seconds, for ever."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.look)

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
async def followed(role: Role, *, every: float = LOOK_EVERY) -> AsyncIterator[TlsContextProvider]:
    """Yield what tells the context for each new connection. Raises `Invalid` when the files can not be used now."""
    following = await asyncio.to_thread(Following, role)
    async with background(following.follow(every)):
        yield following


def _signature(files: TlsFiles) -> _Signature:
    return tuple(_stat(name) for name in files.names)


def _stat(name: str) -> tuple[int, int, int] | None:
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
