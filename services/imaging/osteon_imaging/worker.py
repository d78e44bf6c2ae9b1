"""A worker process: the only place where pixel codecs run. It does one task after the other until its input ends.

It may die at any moment, by a codec or by its limits: SIGALRM ends it when a frame takes too long, a codec that hangs
included, and memory beyond its limit is refused.
"""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.errors import Invalid
from osteon_imaging.tasks import (
    PART,
    AnyTask,
    DecodeTask,
    RenderTask,
    TaskFailure,
    TaskOutcome,
    TranscodeTask,
    read_task,
)

if TYPE_CHECKING:
    from osteon.dicom.pixels.frame_reader import FrameTables

_HEAD = 64 << 10
"""Bytes in which the file meta information is."""
_PIECE = 1 << 20


def main() -> None:
    """Read tasks as JSON lines from standard input, and write their outcomes to standard output."""
    # Answers go to what standard output was; libraries that print go to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The service decides when a worker ends; Ctrl-C goes to the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Imported before the first task arrives.
    import osteon.dicom.pixels.rendering
    import osteon.dicom.pixels.transcode  # noqa: F401

    for line in sys.stdin:
        outcome = perform(read_task(line))
        print(outcome.model_dump_json(), file=answers, flush=True)
        if outcome.failure is TaskFailure.MEMORY:
            return  # What a codec keeps after a refused allocation is not known.


def perform(task: AnyTask) -> TaskOutcome:
    """Do one task and return its outcome; expected failures are part of it."""
    from osteon.dicom.pixels.errors import BadRenderOptions, NoSuchFrame, NotAnImage, NotPossible

    try:
        with _file_of(task) as source:
            _limit_memory(task.memory + source.stat().st_size)
            return _perform(task, source)
    except NoSuchFrame as error:
        return TaskOutcome(failure=TaskFailure.NO_FRAME, error=str(error))
    except BadRenderOptions as error:
        return TaskOutcome(failure=TaskFailure.BAD_OPTIONS, error=str(error))
    except (NotPossible, NotAnImage) as error:
        return TaskOutcome(failure=TaskFailure.NOT_POSSIBLE, error=str(error))
    except Invalid as error:
        return TaskOutcome(failure=TaskFailure.DAMAGED, error=str(error))
    except MemoryError:
        return TaskOutcome(failure=TaskFailure.MEMORY, error=f"needs more than {task.memory} bytes of memory")
    finally:
        _begin_frame(0)


def _perform(task: AnyTask, source: Path) -> TaskOutcome:
    if isinstance(task, DecodeTask):
        return _decode(task, source)
    return _render(task, source) if isinstance(task, RenderTask) else _transcode(task, source)


def _transcode(task: TranscodeTask, source: Path) -> TaskOutcome:
    from osteon.dicom.pixels.geometry import PixelLimits
    from osteon.dicom.pixels.transcode import TranscodeTarget, transcode

    done = transcode(
        source,
        Path(task.destination),
        TranscodeTarget(targets=task.targets, lossy=task.lossy, quality=task.quality),
        PixelLimits(frame_bytes=task.frame_bytes),
        before_frame=lambda: _begin_frame(task.frame_seconds),
    )
    return TaskOutcome(
        source_uid=done.source_uid,
        transfer_syntax_uid=done.transfer_syntax_uid,
        sop_instance_uid=done.sop_instance_uid,
        length=done.length,
    )


def _render(task: RenderTask, source: Path) -> TaskOutcome:
    from osteon.dicom.part10 import read_part10
    from osteon.dicom.pixels.geometry import PixelLimits
    from osteon.dicom.pixels.rendering import render

    with source.open("rb") as file:
        meta = read_part10(file.read(_HEAD))
    made = render(
        source,
        task.options,
        Path(task.destination),
        PixelLimits(frame_bytes=task.frame_bytes),
        before_frame=lambda: _begin_frame(task.frame_seconds),
        tables=_frame_tables() if task.name else None,
        name=task.name,
    )
    return TaskOutcome(
        source_uid=meta.transfer_syntax_uid,
        media_type=made.media_type,
        lengths=made.lengths,
        length=made.length,
        warning=made.warning,
    )


def _decode(task: DecodeTask, source: Path) -> TaskOutcome:
    from osteon.dicom.pixels.picture_decoder import decode_picture

    _begin_frame(task.frame_seconds)
    made = decode_picture(source.read_bytes(), task.frame_bytes)
    Path(task.destination).write_bytes(made.pixels)
    layout = (made.rows, made.columns, made.samples, made.bits)
    return TaskOutcome(length=len(made.pixels), layout=layout)


@cache
def _frame_tables() -> "FrameTables":
    """Return the tables that this process keeps."""
    from osteon.dicom.pixels.frame_reader import FrameTables

    return FrameTables()


@contextmanager
def _file_of(task: AnyTask) -> Iterator[Path]:
    """Give the file of a task: the source itself, or a copy of its part. Raises `Invalid` when it is not there."""
    source, part = Path(task.source), Path(f"{task.destination}{PART}")
    try:
        size = source.stat().st_size
        length = size - task.offset if task.length is None else task.length
        if not 0 <= task.offset <= task.offset + length <= size:
            raise Invalid(f"bytes {task.offset} to {task.offset + length} are not in a pack of {size}")
        if length == size:
            yield source
            return
        _copy(source, part, task.offset, length)
        yield part
    except FileNotFoundError:
        raise Invalid("the pack is not there any more") from None
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, target: Path, offset: int, length: int) -> None:
    with source.open("rb", buffering=0) as file, target.open("wb", buffering=0) as part:
        file.seek(offset)
        while length:
            if not (piece := file.read(min(length, _PIECE))):
                raise Invalid("the pack became shorter while it was read")
            part.write(piece)
            length -= len(piece)


def _begin_frame(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(more: int) -> None:
    """Allow `more` bytes of address space beyond what is in use, where the system reports that (Linux)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))


if __name__ == "__main__":
    main()
