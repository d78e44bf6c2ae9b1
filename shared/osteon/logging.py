"""Structured logs: one event a line, with the correlation id of what is being worked on."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog


def setup(service: str, *, level: str = "INFO", style: Literal["console", "json"] = "console") -> None:
    """Send the logs of this process, those of libraries included, to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if style == "json"
        # Rich tracebacks take 50 ms of the event loop each.
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("pydicom", "pynetdicom", "urllib3", "uvicorn", "httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for redundant in ("aiormq", "aio_pika"):  # every lost connection with a traceback; `osteon.bus` says it in a line
        logging.getLogger(redundant).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    structlog.contextvars.bind_contextvars(service=service)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; the first argument of its methods is a short event name, the rest are keywords."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


@contextmanager
def unheard() -> Iterator[None]:
    """Log nothing inside: for commands that say themselves what libraries would log."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def correlated(correlation_id: str) -> Iterator[None]:
    """Mark every log line inside with a correlation id."""
    with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
        yield
