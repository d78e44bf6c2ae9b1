"""Settings of `writer`."""

from osteon.settings import BusSettings, ObjectSettings, ProcessSettings, SpoolSettings, WriterSettings


class WriterServiceSettings(ProcessSettings, SpoolSettings, BusSettings, ObjectSettings, WriterSettings):
    """The spool that it mounts, the broker and the object store."""
