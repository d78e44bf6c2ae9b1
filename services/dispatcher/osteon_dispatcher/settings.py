"""Settings of `dispatcher`."""

from osteon.settings import (
    BusSettings,
    CommitmentSettings,
    DicomSettings,
    DispatcherSettings,
    IndexSettings,
    JobSettings,
    ObjectSettings,
    PackCacheSettings,
    PeerSettings,
    ProcessSettings,
    RoutingSettings,
    StoreSenderSettings,
    TlsSettings,
)


class DispatcherJobSettings(JobSettings, DispatcherSettings):
    """How jobs run, and how many."""


class DispatcherBaseSettings(
    DicomSettings,
    TlsSettings,
    CommitmentSettings,
    DispatcherJobSettings,
    PeerSettings,
    RoutingSettings,
    StoreSenderSettings,
):
    """Settings that do not depend on the kind of bus, object store and index."""


class DispatcherServiceSettings(
    ProcessSettings, BusSettings, ObjectSettings, PackCacheSettings, IndexSettings, DispatcherBaseSettings
):
    """The broker, the object store and the database; of the DIMSE settings the own AE title and the timeouts."""
