"""Metrics of C-STORE: responses by status, their duration, instances and bytes."""

import time
from typing import Final

from osteon import metrics
from osteon.contracts.packs import Origin
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.spool.sink import InstanceSink

_SUCCESSES: Final = metrics.CSTORE_RESPONSES.labels(status=f"0x{Status.SUCCESS:04X}")
for _status in (Status.OUT_OF_RESOURCES, Status.PROCESSING_FAILURE):
    metrics.CSTORE_RESPONSES.labels(status=f"0x{_status:04X}")  # from 0 on: alerts see the first one


class SenderCounts:
    """The counters of one calling AE title, looked up once for an association: each look-up takes a microsecond."""

    def __init__(self, calling_aet: str) -> None:
        name = metrics.AETS(calling_aet)
        self.instances: Final = metrics.RECEIVED_INSTANCES.labels(Origin.DIMSE.value, *name)
        self.bytes: Final = metrics.RECEIVED_BYTES.labels(Origin.DIMSE.value, *name)
        self.last: Final = metrics.LAST_RECEIVED.labels(*name)


class MeasuredSink:
    """A `StoreSink` that counts. Pieces of the data set go straight to the sink behind it."""

    def __init__(self, sink: InstanceSink, sender: SenderCounts) -> None:
        self._sink = sink
        self._sender = sender
        self.write = sink.write
        self.abort = sink.abort

    async def finish(self) -> Outcome:
        """Finish the instance, and count its outcome and duration."""
        started = time.perf_counter()
        outcome = await self._sink.finish()
        metrics.CSTORE_ACK_SECONDS.observe(time.perf_counter() - started)
        if outcome.status is Status.SUCCESS:
            _SUCCESSES.inc()
            self._sender.instances.inc()
            self._sender.bytes.inc(self._sink.received)
            self._sender.last.set_to_current_time()
        else:
            count_outcome(outcome)
        return outcome


def count_outcome(outcome: Outcome) -> None:
    """Count a response to a C-STORE by its status."""
    metrics.CSTORE_RESPONSES.labels(status=f"0x{outcome.status:04X}").inc()
