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
    SendingSettings,
    TlsSettings,
)


class WorkSettings(
    DicomSettings, TlsSettings, CommitmentSettings, DispatcherSettings, RoutingSettings, SendingSettings
):
    """What the work needs, wherever the broker, the objects and the index are."""


class DispatcherServiceSettings(ProcessSettings, BusSettings, ObjectSettings, IndexSettings, WorkSettings):
    """The broker, the object store and the database; of the DIMSE settings the own AE title and the timeouts."""
