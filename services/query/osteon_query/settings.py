"""Settings of `query`."""

from osteon.settings import BusSettings
from osteon.settings import DicomSettings
from osteon.settings import HttpSettings
from osteon.settings import IndexSettings
from osteon.settings import ObjectSettings
from osteon.settings import PackSettings
from osteon.settings import ProcessSettings
from osteon.settings import RemotesSettings
from osteon.settings import RenderSettings
from osteon.settings import TranscodeSettings


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
