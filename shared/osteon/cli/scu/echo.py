"""`osteon echo`: C-ECHO (PS3.4 Annex A), with the times that it takes."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import Annotated

import orjson
import typer

from osteon.cli.scu.options import EXIT_CODES, Common, Words, only_address, with_common
from osteon.cli.scu.runner import DONE, FAILED, Interrupt, run, words
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from osteon.dimse.errors import NotAccepted
from osteon.dimse.requestor import Remote, RequestedContext, associate
from osteon.dimse.sop_classes import VERIFICATION
from osteon.dimse.status import Status

_CONTEXT = RequestedContext(
    abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN)
)


@with_common
def main(
    common: Common,
    *,
    where: Words,
    count: Annotated[int, typer.Option("--count", "-c", min=1, help="Number of requests, on one association.")] = 1,
    interval: Annotated[float, typer.Option("--interval", "-i", min=0, help="Seconds between two requests.")] = 1.0,
) -> None:
    """Test a peer with C-ECHO and print the round trip times."""

    async def work(interrupt: Interrupt) -> int:
        remote = common.make_remote(*only_address(where))
        echoes = EchoResults()
        await echo(remote, count, interval, echoes, interrupt, talk=not (common.quiet or common.as_json))
        _tell(echoes, common)
        return FAILED if echoes.failed or not echoes.times else DONE

    run(common, work)


main.__doc__ = f"{main.__doc__} {EXIT_CODES}"


@dataclass
class EchoResults:
    """What came of it; times are seconds."""

    association: float = 0.0
    times: list[float] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many were not answered with success."""
        return sum(status is not Status.SUCCESS for status in self.statuses)


def _tell(echoes: EchoResults, common: Common) -> None:
    if common.as_json:
        typer.echo(orjson.dumps(_facts(echoes)))
    elif not common.quiet and echoes.times:
        fastest, mean, slowest = (1e3 * of(echoes.times) for of in (min, statistics.fmean, max))
        typer.echo(
            f"{len(echoes.times)} answered, {echoes.failed} of them not with success; round trip "
            f"{fastest:.2f}/{mean:.2f}/{slowest:.2f} ms (min/mean/max), association {1e3 * echoes.association:.1f} ms"
        )


async def echo(
    remote: Remote, count: int, interval: float, echoes: EchoResults, interrupt: Interrupt, *, talk: bool
) -> None:
    """Fill `echoes`. Raises `OsteonError`."""
    began = time.perf_counter()
    async with associate(remote, [_CONTEXT]) as association:
        echoes.association = time.perf_counter() - began
        if association.context_for(VERIFICATION) is None:
            raise NotAccepted(f"{remote.aet} has accepted no presentation context for C-ECHO")

        async def ask() -> None:
            for number in range(count):
                await asyncio.sleep(interval if number else 0)
                sent = time.perf_counter()
                outcome = await association.echo()
                echoes.times.append(time.perf_counter() - sent)
                echoes.statuses.append(outcome.status)
                if talk:
                    answer = "success" if outcome.status is Status.SUCCESS else words(outcome.status, outcome.comment)
                    typer.echo(
                        f"{remote.aet} at {remote.host}:{remote.port}: {answer}, {1e3 * echoes.times[-1]:.2f} ms"
                    )

        await interrupt.stoppable(ask())


def _facts(echoes: EchoResults) -> dict[str, object]:
    return {
        "association_ms": round(1e3 * echoes.association, 3),
        "round_trips_ms": [round(1e3 * each, 3) for each in echoes.times],
        "statuses": [int(status) for status in echoes.statuses],
        "failed": echoes.failed,
    }
