"""Sends planned instances: `send` on an association that there is, `deliver` on ones that it requests."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial

from osteon import metrics, tracing
from osteon.bus.port import Bus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.handler import StoreUser
from osteon.objects.port import Objects
from osteon.sending.contexts import proposals
from osteon.sending.delivery import Connect, StoreDelivery
from osteon.sending.prefetch import MemoryBudget, Prefetcher
from osteon.sending.reader import DataSetReader, ReadLimits, UnreadableInstance
from osteon.sending.steps import PreparedInstance, Steps
from osteon.sending.suboperations import SubOperationResult
from osteon.sending.transcoder import LossyPolicy, Transcoder
from osteon.settings import StoreSenderSettings


class StoreSender:
    """Sends instances from packs; one for all associations of a process.

    Args:
        objects: the object store, where packs and transcoded instances are.
        bus: the way to `imaging`, which transcodes what the peer cannot take as it is stored.
        read_ahead: bytes that are read for one association before the peer takes them.
        memory: bytes for all associations together: when they are used up, each reads but what it sends next.
        lossy: transfer syntaxes in which instances may be sent although information is lost.
        quality: of lossy compression, 1 to 100.
        verify: compare data sets with the SHA-256 that was noted when they came.
        transcode_timeout: seconds to wait for `imaging`.
        read_limits: how packs are read.
    """

    def __init__(
        self,
        objects: Objects,
        bus: Bus,
        *,
        read_ahead: int = 16 << 20,
        memory: int = 256 << 20,
        lossy: Sequence[str] = (),
        quality: int = 90,
        verify: bool = True,
        transcode_timeout: float = 300.0,
        read_limits: ReadLimits = ReadLimits(),  # noqa: B008  (frozen)
    ) -> None:
        self.lossy = tuple(lossy)
        self._reader = DataSetReader(objects, verify=verify, limits=read_limits)
        kept = LossyPolicy(syntaxes=self.lossy, quality=quality)
        self._transcoder = Transcoder(objects, bus, kept, transcode_timeout)
        self._read_ahead = read_ahead
        self.memory = MemoryBudget(memory)

    @classmethod
    def from_settings(cls, objects: Objects, bus: Bus, settings: StoreSenderSettings) -> "StoreSender":
        """Return what the settings describe."""
        return cls(
            objects,
            bus,
            read_ahead=settings.send_read_ahead_bytes,
            memory=settings.send_memory_bytes,
            lossy=settings.send_lossy,
            quality=settings.send_quality,
            verify=settings.send_verify,
            transcode_timeout=settings.transcode_timeout_seconds,
        )

    async def send(
        self,
        association: StoreUser,
        instances: AsyncIterable[PlannedInstance],
        *,
        move_originator: tuple[str, int] | None = None,
        transcode: bool = True,
        purpose: str = "job",
        traceparent: str = "",
    ) -> AsyncGenerator[SubOperationResult]:
        """Send on one association, in order; yield each instance once it is answered or has failed for good.

        Close the generator (`aclosing`) when it is left early. `instances` is read ahead of what is sent.

        Args:
            association: the association; an instance for which it has no context fails.
            instances: what to send.
            move_originator: AE title and Message ID of the C-MOVE that these are sub-operations of.
            transcode: whether `imaging` may transcode when the peer does not accept the stored transfer syntax.
            purpose: what they are sent for, a label of metrics: `job`, `c-move`, `c-get`.
            traceparent: context of what they are sent for; empty: the current one.

        Raises:
            RequestorError: the association has ended; the instances not yielded are not (known to be) there.
            Unavailable: the object store or whatever gives `instances` does not answer.
        """
        steps = Steps(association, self._reader, self._transcoder, self.lossy, transcode=transcode)
        ahead = Prefetcher[Sequence[PreparedInstance | SubOperationResult]](self.memory, self._read_ahead)
        sent_metrics = _SentMetrics(purpose, tracing.start_span("C-STORE", kind="client", parent=traceparent))
        with sent_metrics.record():
            async with aclosing(ahead.run(steps.of(instances))) as results:
                async for result in results:
                    for each in result:
                        sent = (
                            each
                            if isinstance(each, SubOperationResult)
                            else await self._store(association, each, move_originator)
                        )
                        sent_metrics.add(sent)
                        yield sent

    async def _store(
        self, association: StoreUser, ready: PreparedInstance, move_originator: tuple[str, int] | None
    ) -> SubOperationResult:
        instance, data_set = ready.instance, ready.data_set
        try:
            async with aclosing(data_set.parts()) as parts:
                outcome = await association.store(
                    ready.context,
                    instance.sop_class_uid,
                    ready.sop_instance_uid,
                    parts,
                    move_originator=move_originator,
                )
        except UnreadableInstance as error:
            # Half of it has gone out, and with it the association: what comes next will raise.
            return SubOperationResult(instance, None, str(error))
        finally:
            if ready.temporary:
                self._transcoder.forget(ready.temporary)
        return SubOperationResult(instance, outcome, "", ready.sop_instance_uid, data_set.length)

    def deliver(
        self,
        connect: Connect,
        instances: AsyncIterable[PlannedInstance],
        *,
        move_originator: tuple[str, int] | None = None,
        transcode: bool = True,
        purpose: str = "job",
    ) -> AsyncGenerator[SubOperationResult]:
        """Send on associations that `connect` makes, as `send` does; a new one only when other contexts are needed.

        An instance on which an association broke is tried once more on a new one; then it has failed, and the next
        one's turn has come. Instances are gathered by the thousand, to know what to propose.

        Raises:
            RequestorError: there is no association, it does not answer, or one after the other breaks.
            Unavailable: the object store or whatever gives `instances` does not answer.
        """
        propose = partial(proposals, lossy=self.lossy, transcode=transcode)
        send = partial(self.send, move_originator=move_originator, transcode=transcode, purpose=purpose)
        return StoreDelivery(connect, propose, send).run(instances)


class _SentMetrics:
    """Counts what goes out on one association, for metrics and its span."""

    def __init__(self, purpose: str, span: tracing.Span) -> None:
        self._purpose = purpose
        self._span = span
        self._sent: Counter[str] = Counter()
        self._bytes = 0

    def add(self, sent: SubOperationResult) -> None:
        """Count an instance."""
        metrics.SENT_INSTANCES.labels(sent.counts_as.value, self._purpose).inc()
        metrics.SENT_BYTES.labels(self._purpose).inc(sent.bytes)
        self._sent[sent.counts_as.value] += 1
        self._bytes += sent.bytes

    @contextmanager
    def record(self) -> Iterator[None]:
        """End the span behind what is done inside, with what was counted."""
        try:
            yield
        except Exception as error:
            self._span.record_error(f"{type(error).__name__}: {error}")
            raise
        finally:
            counts = {f"osteon.{result}": number for result, number in self._sent.items()}
            self._span.set_attributes({"osteon.purpose": self._purpose, "osteon.bytes": self._bytes, **counts})
            self._span.end()
