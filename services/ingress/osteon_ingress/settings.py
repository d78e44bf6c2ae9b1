"""Settings of `ingress`, and what they mean for its parts."""

from osteon.dimse.config import AcceptorConfig
from osteon.settings import (
    AccessSettings,
    BalancerSettings,
    BusSettings,
    DicomSettings,
    ObjectSettings,
    PackCacheSettings,
    PackSettings,
    ProcessSettings,
    SpoolSettings,
    StoreSenderSettings,
    TlsSettings,
)
from osteon.spool.spool import SpoolConfig

INDEX_WAIT = 30.0
"""Seconds for which a C-STORE waits to be indexed (`OSTEON_ACK_AFTER=index`) before it is answered 0xA700."""


class IngressBaseSettings(
    ProcessSettings, DicomSettings, TlsSettings, AccessSettings, SpoolSettings, PackSettings, StoreSenderSettings
):
    """What the service reads, whatever its bus and its object store are."""


class IngressServiceSettings(BalancerSettings, BusSettings, ObjectSettings, PackCacheSettings, IngressBaseSettings):
    """The DIMSE ports, their TLS, the spool and the broker; and, for C-GET, the object store and sending."""


def acceptor_config(settings: DicomSettings) -> AcceptorConfig:
    """Return the configuration of the acceptor."""
    return AcceptorConfig(
        aet=settings.aet,
        check_called_aet=settings.check_called_aet,
        allowed_aets=settings.allowed_aets,
        max_associations=settings.max_associations,
        max_associations_per_host=settings.max_associations_per_host or max(1, settings.max_associations // 2),
        max_associations_per_aet=settings.max_associations_per_aet,
        unlimited_hosts=settings.unlimited_hosts,
        max_waiting=settings.max_waiting_connections,
        max_pdu=settings.max_pdu_bytes,
        async_operations=settings.async_operations,
        artim_timeout=settings.artim_timeout_seconds,
        dimse_timeout=settings.dimse_timeout_seconds,
        pdu_timeout=settings.pdu_timeout_seconds,
        network_timeout=settings.network_timeout_seconds,
        extra_sop_classes=settings.extra_sop_classes,
        store_unknown_sop_classes=settings.store_unknown_sop_classes,
    )


def spool_config(settings: IngressBaseSettings) -> SpoolConfig:
    """Return the configuration of the spool."""
    return SpoolConfig(
        root=settings.spool_dir,
        high_water=settings.spool_high_water,
        quota=settings.spool_quota_bytes,
        pack_size=settings.pack_size_bytes,
        pack_seconds=settings.pack_seconds,
        republish_after=settings.republish_seconds,
        wait_for_index=INDEX_WAIT if settings.ack_after == "index" else None,
    )
