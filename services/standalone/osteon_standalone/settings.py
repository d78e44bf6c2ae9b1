"""Settings of `standalone`: those of all services, less the real parts."""

from typing import Literal

from pydantic import Field

from osteon.settings import ImagingSettings, IndexerSettings, StandaloneSettings
from osteon.settings.values import Seconds
from osteon_dispatcher.settings import DispatcherBaseSettings
from osteon_ingress.settings import IngressBaseSettings
from osteon_query.settings import QueryBaseSettings
from osteon_writer.settings import WriterBaseSettings


class StandaloneServiceSettings(
    IngressBaseSettings,
    WriterBaseSettings,
    IndexerSettings,
    ImagingSettings,
    DispatcherBaseSettings,
    QueryBaseSettings,
    StandaloneSettings,
):
    """The spool, the objects and the index are in `OSTEON_DATA`."""

    others = "standalone keeps everything in OSTEON_DATA, in one process; this is a setting of the separate services"
    unread = frozenset({"spool_dir"})

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", description="Least severity that is logged; a person watches this terminal."
    )
    sweep_min_age_seconds: Seconds = Field(
        0.0, ge=0, description="Seconds from which a pack without rows is swept up; none is on its way at the start."
    )
