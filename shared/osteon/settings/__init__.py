"""Settings: environment variables `OSTEON_…`, in groups that each service's `settings.py` puts together.

A variable that no group knows, or a value that is not valid, stops the start with a message that names it.
"""

from osteon.settings.base import PREFIX, Settings
from osteon.settings.dicom import AccessSettings, BalancerSettings, DicomSettings, TlsSettings
from osteon.settings.http import HttpSettings, RemotesSettings
from osteon.settings.imaging import ImagingSettings, RenderSettings, TranscodeSettings
from osteon.settings.jobs import (
    CommitmentSettings,
    DispatcherSettings,
    JobSettings,
    PeerSettings,
    RoutingSettings,
    SendingSettings,
    StoreSenderSettings,
)
from osteon.settings.loading import (
    GROUPS,
    RENAMED,
    BadSettings,
    exit_with,
    known_names,
    load,
    read,
    unknown_settings,
    variables,
)
from osteon.settings.process import ProcessSettings, StandaloneSettings
from osteon.settings.storage import (
    BusSettings,
    ConflictSettings,
    IndexerSettings,
    IndexSettings,
    ObjectSettings,
    PackCacheSettings,
    PackSettings,
    SpoolSettings,
    WriterSettings,
)
from osteon.settings.user_data import UserDataSettings

__all__ = [
    "GROUPS",
    "PREFIX",
    "RENAMED",
    "AccessSettings",
    "BadSettings",
    "BalancerSettings",
    "BusSettings",
    "CommitmentSettings",
    "ConflictSettings",
    "DicomSettings",
    "DispatcherSettings",
    "HttpSettings",
    "ImagingSettings",
    "IndexSettings",
    "IndexerSettings",
    "JobSettings",
    "ObjectSettings",
    "PackCacheSettings",
    "PackSettings",
    "PeerSettings",
    "ProcessSettings",
    "RemotesSettings",
    "RenderSettings",
    "RoutingSettings",
    "SendingSettings",
    "Settings",
    "SpoolSettings",
    "StandaloneSettings",
    "StoreSenderSettings",
    "TlsSettings",
    "TranscodeSettings",
    "UserDataSettings",
    "WriterSettings",
    "exit_with",
    "known_names",
    "load",
    "read",
    "unknown_settings",
    "variables",
]
