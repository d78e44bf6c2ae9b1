"""Settings of `dispatcher`."""

from osteon.settings import (
    BusSettings,
    CommitmentSettings,
    DicomSettings,
    DispatcherSettings,
    IndexSettings,
    ObjectSettings,
    ProcessSettings,
)


class WorkSettings(DicomSettings, CommitmentSettings, DispatcherSettings):
    """What the work needs, wherever the broker, the objects and the index are."""


class DispatcherServiceSettings(ProcessSettings, BusSettings, ObjectSettings, IndexSettings, WorkSettings):
    """The broker, the object store and the database; of the DIMSE settings the own AE title and the timeouts."""
