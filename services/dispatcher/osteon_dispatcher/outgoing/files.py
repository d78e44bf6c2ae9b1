"""Part 10 files of instances on their way to a peer: as they are stored, or transcoded."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from osteon.bus.port import Bus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.errors import Invalid, NotFound
from osteon.objects.port import Bytes, Objects
from osteon.sending.accounting import Sent
from osteon.sending.reading import Unreadable
from osteon.sending.transcoding import Lossy, NotTranscoded, Transcoder


@dataclass(frozen=True, slots=True)
class File:
    """A file of `length` bytes at `offset` of the object `key`. `temporary`: it is a copy, to be deleted."""

    instance: PlannedInstance
    key: str
    offset: int
    length: int
    temporary: bool = False


class Files:
    """Prepares and reads files; `transcode` is a transfer syntax UID, empty: as stored. Raises `Invalid`."""

    def __init__(self, objects: Objects, bus: Bus, transcode: str, seconds: float) -> None:
        if transcode and transcode not in TRANSFER_SYNTAXES:
            raise Invalid(f"{transcode!r} is no transfer syntax that is known here")
        lossy = (transcode,) if transcode and TRANSFER_SYNTAXES[transcode].lossy else ()
        self._objects = objects
        self._transcode = transcode
        self._transcoder = Transcoder(objects, bus, Lossy(syntaxes=lossy), seconds)

    @asynccontextmanager
    async def ready(self, instance: PlannedInstance) -> AsyncIterator[File | Sent]:
        """Lend the file of an instance, or say why there is none."""
        made = await self._make(instance)
        try:
            yield made
        finally:
            if isinstance(made, File) and made.temporary:
                self._transcoder.forget(made.key)

    async def _make(self, instance: PlannedInstance) -> File | Sent:
        if self._transcode in ("", instance.transfer_syntax_uid):
            return File(instance, instance.key, instance.offset, instance.length)
        try:
            made = await self._transcoder.transcode(instance, [self._transcode])
        except NotTranscoded as error:
            return Sent(instance, None, str(error), transient=error.transient)
        return File(instance, made.key, 0, made.length, temporary=True)

    async def chunks(self, file: File) -> AsyncGenerator[Bytes]:
        """Iterate over the bytes; raises `Unreadable` when they are not there."""
        try:
            async for chunk in self._objects.stream(file.key, file.offset, file.length):
                yield chunk
        except (NotFound, Invalid) as error:
            raise Unreadable(f"can not be read from the archive: {error}") from error
