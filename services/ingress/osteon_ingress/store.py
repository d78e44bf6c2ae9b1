"""Measures what the spool's sinks do: answers by status, their time, instances and bytes."""

import time

from osteon import metrics
from osteon.contracts.packs import Origin
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.logging import correlated
from osteon.spool.sink import InstanceSink


class MeasuredSink:
    """A `StoreSink` that counts. Pieces of the data set go straight to the sink behind it."""

    def __init__(self, sink: InstanceSink, correlation_id: str) -> None:
        self._sink = sink
        self._correlation_id = correlation_id
        self.write = sink.write
        self.abort = sink.abort

    async def finish(self) -> Outcome:
        """Return the sink's answer."""
        started = time.perf_counter()
        with correlated(self._correlation_id):
            outcome = await self._sink.finish()
        metrics.STORE_SECONDS.observe(time.perf_counter() - started)
        count(outcome)
        if outcome.status is Status.SUCCESS:
            metrics.RECEIVED_INSTANCES.labels(origin=Origin.DIMSE.value).inc()
            metrics.RECEIVED_BYTES.labels(origin=Origin.DIMSE.value).inc(self._sink.received)
        return outcome


def count(outcome: Outcome) -> None:
    """Count an answer to a C-STORE."""
    metrics.STORE_TOTAL.labels(status=f"0x{outcome.status:04X}").inc()
