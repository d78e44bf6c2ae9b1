"""A worker process: the only place where pixel codecs run. It does one task after the other until its input ends.

It may die at any moment, by a codec or by its limits: SIGALRM ends it when a frame takes too long, a codec that hangs
included, and memory beyond its limit is refused.
"""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import TextIO

from osteon.errors import Invalid
from osteon_imaging.tasks import Failure, Outcome, Task


def main() -> None:
    """Read tasks, write outcomes."""
    answers = _own_output()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The service decides when a worker ends; Ctrl-C goes to the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        outcome = perform(Task.model_validate_json(line))
        print(outcome.model_dump_json(), file=answers, flush=True)
        if outcome.failure is Failure.MEMORY:
            return  # What a codec keeps after a refused allocation is not known.


def perform(task: Task) -> Outcome:
    """Do one task."""
    from osteon.dicom.pixels.errors import NotPossible
    from osteon.dicom.pixels.geometry import Limits
    from osteon.dicom.pixels.transcode import Wanted, transcode

    source = Path(task.source)
    wanted = Wanted(targets=task.targets, lossy=task.lossy, quality=task.quality)
    _limit_memory(task.memory + source.stat().st_size)
    try:
        done = transcode(
            source,
            Path(task.destination),
            wanted,
            Limits(frame_bytes=task.frame_bytes),
            before_frame=lambda: _begin_frame(task.frame_seconds),
        )
    except NotPossible as error:
        return Outcome(failure=Failure.NOT_POSSIBLE, error=str(error))
    except Invalid as error:
        return Outcome(failure=Failure.DAMAGED, error=str(error))
    except MemoryError:
        return Outcome(failure=Failure.MEMORY, error=f"needs more than {task.memory} bytes of memory")
    finally:
        _begin_frame(0)
    return Outcome(
        source_uid=done.source_uid,
        transfer_syntax_uid=done.transfer_syntax_uid,
        sop_instance_uid=done.sop_instance_uid,
        length=done.length,
    )


def _begin_frame(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _own_output() -> TextIO:
    """Return what standard output was; libraries that print go to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _limit_memory(more: int) -> None:
    """Allow `more` bytes of address space beyond what is in use, where the system tells (Linux)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))


if __name__ == "__main__":
    main()
