"""Measures what the spool's sinks do: answers by status, their time, instances and bytes."""

import time
from typing import Final

from osteon import metrics
from osteon.contracts.packs import Origin
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.spool.sink import InstanceSink

_INSTANCES: Final = metrics.RECEIVED_INSTANCES.labels(origin=Origin.DIMSE.value)
_BYTES: Final = metrics.RECEIVED_BYTES.labels(origin=Origin.DIMSE.value)
_SUCCESSES: Final = metrics.STORE_TOTAL.labels(status=f"0x{Status.SUCCESS:04X}")


class MeasuredSink:
    """A `StoreSink` that counts. Pieces of the data set go straight to the sink behind it."""

    def __init__(self, sink: InstanceSink) -> None:
        self._sink = sink
        self.write = sink.write
        self.abort = sink.abort

    async def finish(self) -> Outcome:
        """Return the sink's answer."""
        started = time.perf_counter()
        outcome = await self._sink.finish()
        metrics.STORE_SECONDS.observe(time.perf_counter() - started)
        if outcome.status is Status.SUCCESS:
            _SUCCESSES.inc()
            _INSTANCES.inc()
            _BYTES.inc(self._sink.received)
        else:
            count(outcome)
        return outcome


def count(outcome: Outcome) -> None:
    """Count an answer to a C-STORE."""
    metrics.STORE_TOTAL.labels(status=f"0x{outcome.status:04X}").inc()
