"""What goes to a worker process and comes back, a JSON line each. Imports no codec: both sides use it."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from osteon.dicom.pixels.render_options import RenderOptions


class TaskFailure(StrEnum):
    """Why there is no result; a label of `osteon_imaging_failures_total`."""

    NOT_POSSIBLE = "not possible"
    NO_FRAME = "no such frame"
    BAD_OPTIONS = "bad options"
    DAMAGED = "damaged"
    MEMORY = "memory"
    TIME = "time"
    CRASH = "crash"
    KILLED = "killed"


FATAL: Final = frozenset((TaskFailure.MEMORY, TaskFailure.TIME, TaskFailure.CRASH, TaskFailure.KILLED))
"""Those that end the worker."""
PART: Final = ".part"
"""Ends the name of a file beside the destination that a worker may leave behind when it dies."""


class Task(BaseModel):
    """Work on the Part 10 file that is `length` bytes at `offset` of `source` (None: the rest), into `destination`.

    Sizes in bytes; `memory` comes on top of what a worker needs. `name` is of bytes that never change; empty: of none.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    name: str = ""
    offset: int = 0
    length: int | None = None
    destination: str
    memory: int
    frame_bytes: int
    frame_seconds: float


class TranscodeTask(Task):
    """Make it a file in the first of `targets` that is possible."""

    kind: Literal["transcode"] = "transcode"
    targets: list[str]
    lossy: list[str]
    quality: int


class RenderTask(Task):
    """Make pictures of its frames."""

    kind: Literal["render"] = "render"
    options: RenderOptions


class DecodeTask(Task):
    """Decode it, a PNG or JPEG file instead of one of DICOM."""

    kind: Literal["decode"] = "decode"


AnyTask = TranscodeTask | RenderTask | DecodeTask
_TASK: Final = TypeAdapter[AnyTask](Annotated[AnyTask, Field(discriminator="kind")])


def read_task(line: str | bytes) -> AnyTask:
    """Read what the service has written."""
    return _TASK.validate_json(line)


class TaskOutcome(BaseModel):
    """The new file, or why there is none. `lengths` are those of the pictures in it, which follow one another.

    `warning`: what is wrong with the pixel data nevertheless. `layout` of a decoded picture: rows, columns, samples of
    a pixel, bits of a sample.
    """

    model_config = ConfigDict(frozen=True)

    source_uid: str = ""
    transfer_syntax_uid: str = ""
    sop_instance_uid: str = ""
    media_type: str = ""
    lengths: tuple[int, ...] = ()
    length: int = 0
    layout: tuple[int, int, int, int] = (0, 0, 0, 0)
    warning: str = ""
    failure: TaskFailure | None = None
    error: str = ""
