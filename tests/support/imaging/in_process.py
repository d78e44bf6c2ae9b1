"""What `imaging` answers, made in this process: its workers take a second to start."""

import asyncio
from pathlib import Path
from uuid import uuid4

from osteon.bus.port import Bus
from osteon.contracts.imaging import RenderReply, RenderRequest, TranscodeReply, TranscodeRequest
from osteon.contracts.topology import RENDER, TRANSCODE
from osteon.dicom.pixels.errors import BadRenderOptions, NoSuchFrame, NotPossible
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.rendering import render
from osteon.dicom.pixels.transcode import TranscodeTarget, transcode
from osteon.errors import Invalid
from osteon.objects.port import Objects
from osteon_imaging.task_runner import TaskFailed
from osteon_imaging.tasks import TaskFailure


class InProcessImaging:
    """Serves requests on a bus, and notes them."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        self._objects = objects
        self._folder = folder
        self.transcoded: list[TranscodeRequest] = []
        self.rendered: list[RenderRequest] = []

    async def serve(self, bus: Bus) -> None:
        """Answer from now on."""
        await bus.serve(TRANSCODE, self._transcode)
        await bus.serve(RENDER, self._render)

    async def _transcode(self, message: TranscodeRequest) -> TranscodeReply:
        self.transcoded.append(message)
        source, result = await self._fetch(message), self._folder / uuid4().hex
        wanted = TranscodeTarget(targets=message.targets, lossy=message.lossy, quality=message.quality)
        try:
            done = await asyncio.to_thread(transcode, source, result, wanted, PixelLimits())
        except NotPossible as error:
            raise TaskFailed(TaskFailure.NOT_POSSIBLE, str(error)) from error
        except Invalid as error:
            raise TaskFailed(TaskFailure.DAMAGED, str(error)) from error
        key = f"cache/transcoded/{uuid4().hex}.dcm"
        await self._objects.put_file(key, result)
        return TranscodeReply(
            correlation_id=message.correlation_id,
            key=key,
            length=done.length,
            transfer_syntax_uid=done.transfer_syntax_uid,
            sop_instance_uid=done.sop_instance_uid,
        )

    async def _render(self, message: RenderRequest) -> RenderReply:
        self.rendered.append(message)
        source, result = await self._fetch(message), self._folder / uuid4().hex
        try:
            made = await asyncio.to_thread(render, source, message.options, result, PixelLimits())
        except NoSuchFrame as error:
            raise TaskFailed(TaskFailure.NO_FRAME, str(error)) from error
        except BadRenderOptions as error:
            raise TaskFailed(TaskFailure.BAD_OPTIONS, str(error)) from error
        except Invalid as error:
            raise TaskFailed(TaskFailure.DAMAGED, str(error)) from error
        return RenderReply(
            correlation_id=message.correlation_id,
            data=result.read_bytes(),
            length=made.length,
            frames=list(made.lengths) if len(made.lengths) > 1 else [],
            media_type=made.media_type,
            warning=made.warning,
        )

    async def _fetch(self, message: TranscodeRequest | RenderRequest) -> Path:
        path = self._folder / uuid4().hex
        path.write_bytes(await self._objects.get_range(message.key, message.offset, message.length))
        return path


async def nothing_below(objects: Objects, prefix: str) -> None:
    """Return once no object is left there: what was transcoded is deleted in the background."""
    async with asyncio.timeout(30):
        while [info async for info in objects.list(prefix)]:
            await asyncio.sleep(0.01)
