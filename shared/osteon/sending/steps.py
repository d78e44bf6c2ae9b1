"""What has to be done before each instance can be sent: where it goes, how it is read, whether it is transcoded."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.handler import PresentationContext, StoreUser
from osteon.sending.contexts import ContextKey, context_key, targets
from osteon.sending.reader import DataSet, DataSetReader, Part10, ReadLimits, UnreadableInstance
from osteon.sending.suboperations import SubOperationResult
from osteon.sending.transcoder import NotTranscoded, Transcoder


@dataclass(frozen=True, slots=True)
class PreparedInstance:
    """An instance that can be sent now. `temporary` is the key of an object to be deleted when it has been."""

    instance: PlannedInstance
    context: PresentationContext
    sop_instance_uid: str
    data_set: DataSet
    temporary: str = ""


Step = tuple[int, Callable[[], Awaitable[Sequence[PreparedInstance | SubOperationResult]]]]
"""Bytes that the result holds in memory, and the work."""


@dataclass(slots=True)
class _Group:
    """Neighbours in a pack that are read together."""

    members: list[tuple[PlannedInstance, PresentationContext]] = field(default_factory=list)
    files: list[Part10] = field(default_factory=list)

    def takes(self, file: Part10, limits: ReadLimits) -> bool:
        return not self.files or limits.allow(file, self.files[0].offset, self.files[-1], len(self.files))


class Steps:
    """Turns instances into steps for one association."""

    def __init__(
        self,
        association: StoreUser,
        reader: DataSetReader,
        transcoder: Transcoder,
        lossy: Sequence[str],
        *,
        transcode: bool,
    ) -> None:
        self._association = association
        self._reader = reader
        self._transcoder = transcoder
        self._lossy = lossy
        self._transcode = transcode
        self._routes: dict[ContextKey, PresentationContext | list[str]] = {}

    async def of(self, instances: AsyncIterable[PlannedInstance]) -> AsyncIterator[Step]:
        """Iterate over the steps, in the order of the instances."""
        group, request_bytes = _Group(), self._reader.limits.request_bytes
        async for instance in instances:
            route = self._route(instance)
            file = Part10.of(instance)
            if group.files and (isinstance(route, list) or not group.takes(file, self._reader.limits)):
                yield self._read(group)
                group = _Group()
            if isinstance(route, list):
                yield min(instance.length, request_bytes), partial(self._transcoded, instance, route)
            else:
                group.members.append((instance, route))
                group.files.append(file)
        if group.files:
            yield self._read(group)

    def _route(self, instance: PlannedInstance) -> PresentationContext | list[str]:
        """Return the context for it as it is stored, else the transfer syntaxes to transcode it into."""
        kind = context_key(instance)
        if kind not in self._routes:
            accepted = self._association.contexts_to_use(instance.sop_class_uid)
            fitting = [each for each in accepted if each.transfer_syntax == instance.transfer_syntax_uid]
            self._routes[kind] = fitting[0] if fitting else targets(accepted, self._lossy)
        return self._routes[kind]

    def _read(self, group: _Group) -> Step:
        size = group.files[-1].offset + group.files[-1].length - group.files[0].offset
        return min(size, 2 * self._reader.limits.request_bytes), partial(self._as_stored, group)

    async def _as_stored(self, group: _Group) -> list[PreparedInstance | SubOperationResult]:
        found = await self._reader.read_all(group.files)
        return [
            SubOperationResult(instance, None, str(data_set))
            if isinstance(data_set, UnreadableInstance)
            else PreparedInstance(instance, context, instance.sop_instance_uid, data_set)
            for (instance, context), data_set in zip(group.members, found, strict=True)
        ]

    async def _transcoded(
        self, instance: PlannedInstance, syntaxes: list[str]
    ) -> list[PreparedInstance | SubOperationResult]:
        stored = f"{instance.sop_class_uid} in transfer syntax {instance.transfer_syntax_uid}"
        accepted = {each.transfer_syntax: each for each in self._association.contexts_to_use(instance.sop_class_uid)}
        if not accepted:
            return [SubOperationResult(instance, None, f"the peer does not accept SOP class {instance.sop_class_uid}")]
        if not syntaxes or not self._transcode:
            return [
                SubOperationResult(instance, None, f"the peer does not accept {stored}, and it may not be transcoded")
            ]
        try:
            made = await self._transcoder.transcode(instance, syntaxes)
        except NotTranscoded as error:
            reason = f"the peer does not accept {stored}, which {error}"
            return [SubOperationResult(instance, None, reason, transient=error.transient)]
        uid = made.sop_instance_uid or instance.sop_instance_uid
        (data_set,) = await self._reader.read_all([Part10(made.key, 0, made.length, uid, made.transfer_syntax_uid)])
        if isinstance(data_set, UnreadableInstance):
            self._transcoder.forget(made.key)
            return [SubOperationResult(instance, None, f"its transcoded copy {data_set}", transient=True)]
        return [PreparedInstance(instance, accepted[made.transfer_syntax_uid], uid, data_set, made.key)]
