"""Settings of `dispatcher`."""

from osteon.settings import (
    BusSettings,
    CommitmentSettings,
    DicomSettings,
    DispatcherSettings,
    IndexSettings,
    ObjectSettings,
    ProcessSettings,
    RoutingSettings,
    StoreSenderSettings,
    TlsSettings,
)


class DispatcherBaseSettings(
    DicomSettings, TlsSettings, CommitmentSettings, DispatcherSettings, RoutingSettings, StoreSenderSettings
):
    """What the service reads, whatever its bus, its object store and its index are."""


class DispatcherServiceSettings(ProcessSettings, BusSettings, ObjectSettings, IndexSettings, DispatcherBaseSettings):
    """The broker, the object store and the database; of the DIMSE settings the own AE title and the timeouts."""
