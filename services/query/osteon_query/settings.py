"""Settings of `query`, alone and inside `standalone`."""

from osteon.settings import (
    BusSettings,
    ConflictSettings,
    DicomSettings,
    HttpSettings,
    IndexSettings,
    JobSettings,
    ObjectSettings,
    PackCacheSettings,
    PackSettings,
    ProcessSettings,
    RemotesSettings,
    RenderSettings,
    TranscodeSettings,
    UserDataSettings,
)


class QueryBaseSettings(
    ProcessSettings,
    DicomSettings,
    PackSettings,
    HttpSettings,
    JobSettings,
    RemotesSettings,
    TranscodeSettings,
    RenderSettings,
    ConflictSettings,
    UserDataSettings,
):
    """Settings of the service apart from its bus, object store and index."""


class QueryServiceSettings(BusSettings, ObjectSettings, PackCacheSettings, IndexSettings, QueryBaseSettings):
    """The HTTP server, the broker, the object store and the database; AE title and DICOM port for `/system` only."""
