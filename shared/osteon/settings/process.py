"""What every process reads, and `standalone`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from osteon.settings.base import Settings
from osteon.settings.values import Port, Seconds


class ProcessSettings(Settings):
    """What every process has."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severity that is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="Log lines for a person or for a machine.")
    bind: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for all.")
    health_port: Port = Field(8081, description="Port of `/healthz`, `/readyz` and `/metrics`; 0 takes a free one.")
    drain_seconds: Seconds = Field(25.0, ge=0, description="Time to finish work in flight after SIGTERM.")
    metrics_max_aets: int = Field(
        200, ge=0, description="Calling AE titles with their own values in metrics; others are counted as `other`."
    )
    tracing_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Base URL of an OpenTelemetry collector (OTLP by HTTP, `http://host:4318`); empty: no tracing.",
    )


class StandaloneSettings(Settings):
    """Everything in one process."""

    data: Path = Field(Path("data"), description="Folder of the spool, the objects and the SQLite index.")
    demo: bool = Field(True, description="Load a small demo study into an empty archive.")
