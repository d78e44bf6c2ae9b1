"""Every probe. A new part gets a module with a `look` and a line here."""

from typing import Any, Final

from osteon.cli.doctor import broker, certificates, database, disk, host, objects, ports
from osteon.cli.doctor.runner import Probe
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
"""The first probe. The command runs it itself, since the others need valid settings."""
PROBES: Final[tuple[Probe[Any], ...]] = (
    Probe("host", "open files", ProcessSettings, host.check),
    Probe("ports", "free, or Osteon's own", ProcessSettings, ports.check),
    Probe("disk", "the spool's folder, file system, space and leftovers", SpoolSettings, disk.check),
    Probe("broker", "RabbitMQ: login, rights, queues, dead letters", BusSettings, broker.check, True),
    Probe("objects", "S3: login, bucket, all operations that Osteon uses", ObjectSettings, objects.check, True),
    Probe("objects", "the folder of objects", StandaloneSettings, objects.check_folder),
    Probe("database", "PostgreSQL: login, version, tables, rights, durability", IndexSettings, database.check, True),
    Probe("database", "the SQLite file", StandaloneSettings, database.check_file),
    Probe("certificates", "TLS of associations, broker, objects, database", ProcessSettings, certificates.check, True),
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
