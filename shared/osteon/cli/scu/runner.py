"""Runs a tool: one event loop, errors in words, exit codes, and Ctrl-C that ends the association in order."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import typer
import uvloop

from osteon import logging
from osteon.cli.scu.options import Common
from osteon.dimse.errors import AssociationRejected, ConnectFailed, NotAccepted
from osteon.dimse.status import Status
from osteon.errors import Invalid, OsteonError

T = TypeVar("T")
DONE, FAILED, NO_ASSOCIATION, INTERRUPTED = 0, 1, 2, 130
_BEFORE_THE_WORK = (ConnectFailed, AssociationRejected, NotAccepted, Invalid)


class Interrupt:
    """Ctrl-C: the first one stops work that can end in order, and then its associations; otherwise, and the second
    time, all ends at once.
    """

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.orderly = False
        """There is an association, and its user checks `requested`."""
        self._main = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupted)

    def _interrupted(self) -> None:
        if self._main is not None and (self.requested.is_set() or not self.orderly):
            self._main.cancel()
        else:
            report_error("stopping; Ctrl-C again ends at once", INTERRUPTED)
        self.requested.set()

    async def stoppable(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Run `work`, which is cancelled by Ctrl-C: then return None, so that what is around it ends in order."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self.requested.wait())
        self.orderly = True
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            return None if task.cancelled() else task.result()
        finally:
            self.orderly = False
            task.cancel()
            stop.cancel()


def run(common: Common, work: Callable[[Interrupt], Awaitable[int]]) -> None:
    """Run a tool and end the process with what it returns, or with what its error means."""
    logging.setup("osteon", level="DEBUG" if common.verbose else "CRITICAL")

    async def main() -> int:
        interrupt = Interrupt()
        code = await work(interrupt)
        return INTERRUPTED if interrupt.requested.is_set() else code

    try:
        code = uvloop.run(main())
    except _BEFORE_THE_WORK as error:
        code = report_error(error, NO_ASSOCIATION)
    except OsteonError as error:
        code = report_error(error, FAILED)
    except (asyncio.CancelledError, KeyboardInterrupt):
        code = INTERRUPTED
    raise typer.Exit(code)


def report_error(error: object, code: int) -> int:
    """Write an error to standard error; return the exit code."""
    typer.echo(f"osteon: {error}", err=True)
    sys.stdout.flush()
    return code


def words(status: int, comment: str = "") -> str:
    """Return a DIMSE status for people, with the peer's comment or else its meaning: `0xA700 (disk full)`."""
    return f"0x{status:04X} ({comment})" if comment else Status(status).words
