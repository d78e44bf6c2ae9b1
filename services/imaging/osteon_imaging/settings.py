"""Settings of `imaging` as a service of its own."""

from osteon.settings import BusSettings, ImagingSettings, ObjectSettings, PackCacheSettings, ProcessSettings


class ImagingServiceSettings(ProcessSettings, BusSettings, ObjectSettings, PackCacheSettings, ImagingSettings):
    """The broker, the object store, and the bounds of its worker processes."""
