"""Requests an instance from `imaging` in a transfer syntax that the peer accepts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.imaging import TranscodeReply, TranscodeRequest
from osteon.contracts.retrieve import PlannedInstance
from osteon.contracts.topology import TRANSCODE
from osteon.errors import FailureKind, OsteonError, Unavailable
from osteon.logging import get_logger
from osteon.objects.port import Objects

_CONCURRENCY: Final = 8
"""Requests of one process that `imaging` has at the same time: enough for its workers, few enough to wait for."""
log = get_logger(__name__)


class NotTranscoded(OsteonError):
    """An instance cannot be had in another transfer syntax; `transient`: not now."""

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


@dataclass(frozen=True, slots=True, kw_only=True)
class LossyPolicy:
    """Which transfer syntaxes may lose information, and the quality from 1 to 100."""

    syntaxes: tuple[str, ...] = ()
    quality: int = 90


class Transcoder:
    """Has instances transcoded; `timeout` in seconds."""

    def __init__(self, objects: Objects, bus: Bus, lossy: LossyPolicy, timeout: float) -> None:
        self._objects = objects
        self._bus = bus
        self._lossy = lossy
        self._timeout = timeout
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._background: set[asyncio.Task[None]] = set()

    async def transcode(
        self, instance: PlannedInstance, targets: Sequence[str], quality: int | None = None
    ) -> TranscodeReply:
        """Return where the instance is in the first of `targets` that is possible. Raises `NotTranscoded`.

        `quality` takes precedence over the policy's.
        """
        request = TranscodeRequest(
            correlation_id=instance.correlation_id,
            key=instance.key,
            offset=instance.offset,
            length=instance.length,
            targets=list(targets),
            lossy=[uid for uid in self._lossy.syntaxes if uid in targets],
            quality=quality or self._lossy.quality,
        )
        try:
            async with self._slots:
                return await self._request(request)
        except (Unavailable, RequestFailed) as error:
            transient = error.kind is FailureKind.UNAVAILABLE
            now = " now" if transient else ""
            raise NotTranscoded(f"cannot be transcoded{now}: {error}", transient=transient) from error

    def forget(self, key: str) -> None:
        """Delete a transcoded object, without waiting for it."""
        self._keep(asyncio.create_task(self._delete(key)))

    async def _request(self, request: TranscodeRequest) -> TranscodeReply:
        requesting = asyncio.create_task(self._bus.request(TRANSCODE, request, timeout=self._timeout))
        try:
            return await asyncio.shield(requesting)
        except asyncio.CancelledError:
            # The requester went away; a copy that is made nevertheless would stay in the store for long.
            self._keep(asyncio.create_task(self._drop(requesting)))
            raise

    async def _drop(self, requesting: asyncio.Task[TranscodeReply]) -> None:
        try:
            answer = await requesting
        except OsteonError:
            return
        await self._delete(answer.key)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _delete(self, key: str) -> None:
        try:
            await self._objects.delete(key)
        except OsteonError as error:
            log.warning("transcoded object not deleted", key=key, error=str(error))  # imaging does it, by its age
