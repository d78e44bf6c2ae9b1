"""Part 10 files of instances on their way to a peer: as they are stored, or transcoded."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from osteon.bus.port import Bus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.errors import Invalid, NotFound
from osteon.objects.port import Bytes, Objects
from osteon.sending.reader import UnreadableInstance
from osteon.sending.suboperations import SubOperationResult
from osteon.sending.transcoder import LossyPolicy, NotTranscoded, Transcoder


@dataclass(frozen=True, slots=True)
class PeerFile:
    """A file of `length` bytes at `offset` of the object `key`."""

    instance: PlannedInstance
    key: str
    offset: int
    length: int


class PeerFiles:
    """Prepares and reads files; `transcode` is a transfer syntax UID, empty: as stored. Raises `Invalid`."""

    def __init__(self, objects: Objects, bus: Bus, transcode: str, seconds: float) -> None:
        if transcode and transcode not in TRANSFER_SYNTAXES:
            raise Invalid(f"{transcode!r} is not a known transfer syntax")
        lossy = (transcode,) if transcode and TRANSFER_SYNTAXES[transcode].lossy else ()
        self._objects = objects
        self._transcode = transcode
        self._transcoder = Transcoder(objects, bus, LossyPolicy(syntaxes=lossy), seconds)

    @asynccontextmanager
    async def prepare(self, instance: PlannedInstance) -> AsyncIterator[PeerFile | SubOperationResult]:
        """Provide the file of an instance, or why it is missing; a copy is deleted on leaving."""
        if self._transcode in ("", instance.transfer_syntax_uid):
            yield PeerFile(instance, instance.key, instance.offset, instance.length)
            return
        try:
            made = await self._transcoder.transcode(instance, [self._transcode])
        except NotTranscoded as error:
            yield SubOperationResult(instance, None, str(error), transient=error.transient)
            return
        try:
            yield PeerFile(instance, made.key, 0, made.length)
        finally:
            self._transcoder.forget(made.key)

    async def chunks(self, file: PeerFile) -> AsyncGenerator[Bytes]:
        """Iterate over the bytes; raises `UnreadableInstance` when they are not there."""
        try:
            async for chunk in self._objects.stream(file.key, file.offset, file.length):
                yield chunk
        except (NotFound, Invalid) as error:
            raise UnreadableInstance(f"cannot be read from the archive: {error}") from error
