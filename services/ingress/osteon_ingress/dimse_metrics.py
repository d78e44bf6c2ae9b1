"""Metrics of operations other than C-STORE (`store_metrics`): duration and final status."""

import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Final, Protocol, TypeVar

from osteon import metrics
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status


class StatusResponse(Protocol):
    """One of the responses to an operation."""

    @property
    def status(self) -> Status:
        """Its status; that of the last one is not pending."""


R = TypeVar("R", bound=StatusResponse)
_CANCELLED: Final = "0xFE00"


async def measure_responses(operation: str, source: AsyncGenerator[R]) -> AsyncGenerator[R]:
    """Pass on the responses; the operation ends with the final one, or when its peer is gone."""
    began = time.perf_counter()
    status = _CANCELLED
    try:
        async with aclosing(source):
            async for response in source:
                if not response.status.is_pending:
                    status = _named(response.status)
                yield response
    finally:
        _observe(operation, status, began)


async def measure_outcome(operation: str, source: Awaitable[Outcome]) -> Outcome:
    """Pass on the outcome of an operation with one response."""
    began = time.perf_counter()
    found = await source
    _observe(operation, _named(found.status), began)
    return found


def _observe(operation: str, status: str, began: float) -> None:
    metrics.DIMSE_OPERATION_SECONDS.labels(operation, status).observe(time.perf_counter() - began)


def _named(status: Status) -> str:
    return f"0x{status:04X}"
