"""Turns tracing on where there is a collector. The packages of OpenTelemetry are imported only then."""

import os
from typing import Final

from osteon import tracing
from osteon.errors import OsteonError

_STANDARD: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class TracingUnusable(OsteonError):
    """A collector is configured, but the packages of OpenTelemetry are missing."""


def start(service: str, endpoint: str) -> None:
    """Trace this process if there is a collector: at `endpoint`, or where OpenTelemetry's own variables say.

    Raises `TracingUnusable` when the packages are missing.
    """
    has_collector = endpoint or any(os.environ.get(name) for name in _STANDARD)
    if not has_collector or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from osteon.tracing_otel import OtelTracer
    except ImportError as error:
        raise TracingUnusable(
            f"OSTEON_TRACING_ENDPOINT: the packages of OpenTelemetry are missing ({error}): pip install osteon[tracing]"
        ) from None
    tracing.set_tracer(OtelTracer.exporting(service, endpoint))
