"""Settings of `standalone`: those of all services, less the real parts."""

from typing import Literal

from pydantic import Field

from osteon.settings import (
    AccessSettings,
    HttpSettings,
    ImagingSettings,
    IndexerSettings,
    ProcessSettings,
    RemotesSettings,
    RenderSettings,
    SendingSettings,
    SpoolSettings,
    StandaloneSettings,
    WriterSettings,
)
from osteon_dispatcher.settings import WorkSettings


class StandaloneServiceSettings(
    ProcessSettings,
    SpoolSettings,
    WriterSettings,
    IndexerSettings,
    HttpSettings,
    ImagingSettings,
    RenderSettings,
    StandaloneSettings,
    RemotesSettings,
    AccessSettings,
    WorkSettings,
    SendingSettings,
):
    """The spool, the objects and the index are in `OSTEON_DATA`, whatever `OSTEON_SPOOL` says."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", description="Least severity that is logged; a person watches this terminal."
    )
    sweep_age: float = Field(
        0.0, ge=0, description="Seconds from which a pack without rows is swept up; none is on its way at the start."
    )
