"""Settings of `indexer`."""

from osteon.settings import BusSettings, IndexerSettings, IndexSettings, ObjectSettings, ProcessSettings


class IndexerServiceSettings(ProcessSettings, BusSettings, ObjectSettings, IndexSettings, IndexerSettings):
    """The broker, the object store, the database, and how to batch."""
