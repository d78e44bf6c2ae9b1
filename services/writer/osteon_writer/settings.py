"""Settings of `writer`: with its ports, and without them for a standalone process."""

from osteon.settings import BusSettings, ObjectSettings, ProcessSettings, SpoolSettings, WriterSettings


class WriterBaseSettings(SpoolSettings, WriterSettings):
    """What the service reads, whatever its bus and its object store are."""


class WriterServiceSettings(ProcessSettings, BusSettings, ObjectSettings, WriterBaseSettings):
    """The spool that it mounts, the broker and the object store."""
