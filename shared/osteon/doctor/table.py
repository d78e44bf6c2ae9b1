"""Every probe. A new part gets a module with a `look` and a line here."""

from typing import Any, Final

from osteon.doctor import broker, certificates, database, disk, host, objects, ports
from osteon.doctor.runner import Probe
from osteon.settings import (
    BusSettings,
    DicomSettings,
    DispatcherSettings,
    HttpSettings,
    IndexSettings,
    ObjectSettings,
    ProcessSettings,
    SpoolSettings,
    StandaloneSettings,
    TlsSettings,
)

SETTINGS: Final = "settings"
"""The first probe: without settings there is nothing to look at, so the command itself does it."""
PROBES: Final[tuple[Probe[Any], ...]] = (
    Probe("host", "open files", ProcessSettings, host.look),
    Probe("ports", "free, or Osteon's own", ProcessSettings, ports.look),
    Probe("disk", "the spool's folder, file system, space and leftovers", SpoolSettings, disk.look),
    Probe("broker", "RabbitMQ: login, rights, queues, dead letters", BusSettings, broker.look, True),
    Probe("objects", "S3: login, bucket, everything that Osteon asks of it", ObjectSettings, objects.look, True),
    Probe("objects", "the folder of objects", StandaloneSettings, objects.look_at_folder),
    Probe("database", "PostgreSQL: login, version, tables, rights, durability", IndexSettings, database.look, True),
    Probe("database", "the SQLite file", StandaloneSettings, database.look_at_file),
    Probe("certificates", "TLS of associations, broker, objects, database", ProcessSettings, certificates.look, True),
)


class ClusterSettings(
    ProcessSettings,
    DicomSettings,
    TlsSettings,
    HttpSettings,
    SpoolSettings,
    BusSettings,
    ObjectSettings,
    IndexSettings,
    DispatcherSettings,
):
    """Every part that the services of a cluster need."""
