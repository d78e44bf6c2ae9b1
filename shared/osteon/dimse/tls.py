"""Contexts of DICOM TLS: the BCP 195 secure transport connection profile (PS3.15 B.10 and B.12, RFC 8996 and 9325).

TLS 1.2 or newer and nothing to downgrade to. Of TLS 1.2 only the suites that RFC 9325 4.2 recommends, which have
forward secrecy and authenticate what they encrypt; the suites of TLS 1.3 all do.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from osteon.errors import Invalid

TlsContextProvider = Callable[[], ssl.SSLContext]
"""Returns the context of a new connection: another one after certificates have changed."""
TLS12_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""In OpenSSL's names, in the order of preference."""
_ALERTS = {
    "certificate required": "the peer demands a certificate",
    "alert unknown ca": "the peer does not trust the CA of the certificate that it was shown",
    "alert bad certificate": "the peer refuses the certificate that it was shown",
    "alert handshake failure": "no TLS version, suite or certificate suits both",
    "alert protocol version": "the peer does not accept TLS 1.2 or 1.3",
}
"""What the peer's alerts mean (RFC 8446 6.2)."""
_OTHER_PROTOCOL = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG"}


class ClientCertificates(StrEnum):
    """Whether a client must show a certificate that the CA signed."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files; `certificate` holds the chain, leaf first. Empty: none, of the CA: those that the system trusts."""

    certificate: str = ""
    key: str = ""
    ca: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The files that are given."""
        return tuple(name for name in (self.certificate, self.key, self.ca) if name)


class TlsUnusable(Invalid):
    """A file cannot be used. `part` is the field of `TlsFiles` that names it; `detail` names the file and why."""

    def __init__(self, part: str, detail: str) -> None:
        super().__init__(f"{part}: {detail}")
        self.part = part
        self.detail = detail


def server_context(files: TlsFiles, clients: ClientCertificates = ClientCertificates.REQUIRED) -> ssl.SSLContext:
    """Return what an acceptor presents and demands; reads the files. Raises `TlsUnusable`."""
    if not files.certificate:
        raise TlsUnusable("certificate", "a TLS port needs a certificate; name its PEM file")
    if clients is not ClientCertificates.NONE and not files.ca:
        raise TlsUnusable("ca", "needed to check the certificates of clients; or accept every client (clients: none)")
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    # A resumed session would get past a CA file that has changed, and associations are long.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    demands = {
        ClientCertificates.NONE: ssl.CERT_NONE,
        ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
        ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
    }
    context.verify_mode = demands[clients]
    return context


def client_context(files: TlsFiles, *, check_host: bool = True) -> ssl.SSLContext:
    """Return how a requestor connects: it always demands a certificate that the CA signed. Raises `TlsUnusable`.

    Args:
        files: what it shows on request, and which CA it trusts.
        check_host: whether the certificate must be for the host that is called, too. Without it, any holder of a
            certificate of that CA can answer: only for a CA of the hospital's own.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    context.check_hostname = check_host
    if not files.ca:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def describe_failure(error: Exception) -> str:
    """Say why there is no TLS connection, without the noise of OpenSSL's messages."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        other = "the peer does not speak TLS; is the port right?"
        return other if error.reason in _OTHER_PROTOCOL else _reason(error)
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def describe_peer(secure: ssl.SSLObject) -> str:
    """Say for a log how a connection is secured, and by whose certificate if there is one."""
    names = [pair for part in (secure.getpeercert() or {}).get("subject", ()) for pair in part]
    common = [value for name, value in cast(list[tuple[str, str]], names) if name == "commonName"]
    return ", ".join([secure.version() or "", *common])


def _context(kind: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS12_SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if files.certificate:
        _load_chain(context, files)
    if files.ca:
        _readable("ca", files.ca)
        try:
            context.load_verify_locations(files.ca)
        except ssl.SSLError as error:
            raise TlsUnusable("ca", f"{files.ca}: no CA certificates in PEM ({_reason(error)})") from None
    return context


def _load_chain(context: ssl.SSLContext, files: TlsFiles) -> None:
    _readable("certificate", files.certificate)
    if files.key:
        _readable("key", files.key)
    try:
        context.load_cert_chain(files.certificate, files.key or None, password=_no_password)
    except _PasswordNeeded:
        raise TlsUnusable("key", f"{files.key or files.certificate}: has a password; store the key without") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable("key", f"{files.key}: is not the key of {files.certificate}") from None
        part, name = _which(files)
        raise TlsUnusable(part, f"{name}: cannot be used as PEM ({_reason(error)})") from None


def _which(files: TlsFiles) -> tuple[str, str]:
    """Return which file of a pair OpenSSL could not use, and its name; OpenSSL does not say."""
    try:
        ssl.PEM_cert_to_DER_cert(first_certificate(Path(files.certificate)))
    except ValueError:
        return "certificate", files.certificate
    return "key", files.key or files.certificate


def first_certificate(path: Path) -> str:
    """Return the first certificate in a PEM file, which is the one that is presented, or an empty string."""
    _, begin, rest = path.read_text(errors="replace").partition(ssl.PEM_HEADER)
    body, end, _ = rest.partition(ssl.PEM_FOOTER)
    return begin + body + end if end else ""


def _readable(part: str, name: str) -> None:
    try:
        with Path(name).open("rb"):
            return
    except OSError as error:
        raise TlsUnusable(part, f"{name}: {error.strerror}") from None


def _reason(error: ssl.SSLError) -> str:
    words = (error.reason or str(error)).replace("_", " ").lower()
    meaning = next((meaning for alert, meaning in _ALERTS.items() if alert in words), "")
    return f"{words} ({meaning})" if meaning else words


class _PasswordNeeded(Exception):
    pass


def _no_password() -> str:
    # Otherwise OpenSSL would ask on the terminal, and wait.
    raise _PasswordNeeded
