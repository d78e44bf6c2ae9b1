"""How remote application entities, and this archive's own acceptor, are reached."""

from collections.abc import Callable

from osteon.dimse.config import Remote
from osteon.dimse.tls import TlsContextProvider
from osteon.errors import Invalid
from osteon.remotes.port import Modality
from osteon_dispatcher.settings import DispatcherBaseSettings

RemoteOf = Callable[[Modality, str], Remote]
"""How to reach a modality as an AE title of ours."""


def remote_of(modality: Modality, aet: str, *, tls: TlsContextProvider | None = None) -> Remote:
    """Return how to reach a modality as `aet`; raises `Invalid` when it requires TLS, which is not set up."""
    if modality.tls and tls is None:
        raise Invalid(f"modality {modality.name!r} requires TLS, which is not configured")
    return Remote(
        aet=modality.aet,
        host=modality.host,
        port=modality.port,
        calling_aet=aet,
        tls=tls() if modality.tls and tls else None,
        timeout=modality.timeout,
    )


def own_acceptor(settings: DispatcherBaseSettings, tls: TlsContextProvider, address: Callable[[], str]) -> Remote:
    """Return where this archive takes associations: at `host:port`, by TLS when it takes no others."""
    host, _, port = address().rpartition(":")
    return Remote(
        aet=settings.aet,
        host=host.strip("[]"),
        port=int(port),
        calling_aet=settings.aet,
        tls=None if settings.dicom_plaintext_enabled else tls(),
    )
