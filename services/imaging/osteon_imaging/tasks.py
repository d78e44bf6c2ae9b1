"""What goes to a worker process and comes back, a JSON line each. Imports no codec: both sides use it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Failure(StrEnum):
    """Why there is no result; a label of `osteon_imaging_failures_total`."""

    NOT_POSSIBLE = "not possible"
    DAMAGED = "damaged"
    MEMORY = "memory"
    TIME = "time"
    CRASH = "crash"


FATAL = frozenset((Failure.MEMORY, Failure.TIME, Failure.CRASH))
"""Those that end the worker."""


class Task(BaseModel):
    """Transcode the file at `source` to `destination`. Sizes in bytes; `memory` comes on top of what a worker needs."""

    model_config = ConfigDict(frozen=True)

    source: str
    destination: str
    targets: list[str]
    lossy: list[str]
    quality: int
    memory: int
    frame_bytes: int
    frame_seconds: float


class Outcome(BaseModel):
    """The new file, or why there is none."""

    model_config = ConfigDict(frozen=True)

    source_uid: str = ""
    transfer_syntax_uid: str = ""
    sop_instance_uid: str = ""
    length: int = 0
    failure: Failure | None = None
    error: str = ""
