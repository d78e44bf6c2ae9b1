"""Files of changed instances, out of the object store, transcoded first when that is asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from osteon.bus.port import Bus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.errors import Invalid, Unavailable
from osteon.modification.modified_file import Change, ModifiedFile, write_modified_file
from osteon.objects.port import Objects
from osteon.sending.transcoder import LossyPolicy, NotTranscoded, Transcoder

_QUALITY: Final = 90


class NotTranscodable(Invalid):
    """An instance cannot be had in the transfer syntax that is asked for."""


class TranscodingUnavailable(Unavailable):
    """An instance cannot be transcoded now."""


class InstanceWriter:
    """Writes files of changed instances; `transcode` is a transfer syntax UID, empty: as stored."""

    def __init__(
        self, objects: Objects, bus: Bus, *, transcode: str = "", quality: int = 0, transcode_seconds: float
    ) -> None:
        lossy = (transcode,) if transcode and TRANSFER_SYNTAXES[transcode].lossy else ()
        self._objects = objects
        self._transcode = transcode
        policy = LossyPolicy(syntaxes=lossy, quality=quality or _QUALITY)
        self._transcoder = Transcoder(objects, bus, policy, transcode_seconds)

    async def write(self, instance: PlannedInstance, change: Change, target: Path) -> ModifiedFile:
        """Write the file of a stored instance, changed, to `target`.

        Raises as `write_modified_file`, and `NotTranscodable`, `ObjectNotFound` and `Unavailable`.
        """
        async with self._source(instance, target.with_suffix(".source")) as (path, offset, length):
            return await asyncio.to_thread(write_modified_file, path, offset, length, change, target)

    @asynccontextmanager
    async def _source(self, at: PlannedInstance, copy: Path) -> AsyncIterator[tuple[Path, int, int]]:
        """Provide the file: its path, offset and length."""
        if self._transcode in ("", at.transfer_syntax_uid):
            async with self._local(at.key, at.offset, at.length, copy) as found:
                yield found
            return
        try:
            made = await self._transcoder.transcode(at, [self._transcode])
        except NotTranscoded as error:
            kind = TranscodingUnavailable if error.transient else NotTranscodable
            raise kind(f"instance {at.sop_instance_uid} {error}") from error
        try:
            async with self._local(made.key, 0, made.length, copy) as found:
                yield found
        finally:
            self._transcoder.forget(made.key)

    @asynccontextmanager
    async def _local(self, key: str, offset: int, length: int, copy: Path) -> AsyncIterator[tuple[Path, int, int]]:
        path = self._objects.path(key)
        if path is not None:
            yield path, offset, length
            return
        try:
            with await asyncio.to_thread(copy.open, "xb") as file:
                async for chunk in self._objects.stream(key, offset, length):
                    await asyncio.to_thread(file.write, chunk)
            yield copy, 0, length
        finally:
            await asyncio.to_thread(copy.unlink, missing_ok=True)
