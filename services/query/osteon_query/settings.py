"""Settings of `query`."""

from osteon.settings import (
    BusSettings,
    DicomSettings,
    HttpSettings,
    IndexSettings,
    ObjectSettings,
    PackSettings,
    ProcessSettings,
    RemotesSettings,
    RenderSettings,
    TranscodeSettings,
)


class QueryBaseSettings(
    ProcessSettings,
    DicomSettings,
    PackSettings,
    HttpSettings,
    RemotesSettings,
    TranscodeSettings,
    RenderSettings,
):
    """What the service reads, whatever its bus, its object store and its index are."""


class QueryServiceSettings(BusSettings, ObjectSettings, IndexSettings, QueryBaseSettings):
    """The HTTP door, the broker, the object store and the database; AE title and DICOM port for `/system` only."""
