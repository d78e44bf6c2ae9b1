"""`osteon send`: C-STORE of files and folders (PS3.4 Annex B)."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from osteon.cli.scu.files import DicomFile, UnusableFile, find_files, measure
from osteon.cli.scu.options import EXIT_CODES, Common, address, with_common
from osteon.cli.scu.progress import bar, size
from osteon.cli.scu.runner import DONE, FAILED, Interrupt, report_error, run
from osteon.cli.scu.store_client import StoreClient, StoreResult
from osteon.cli.scu.transfer_report import TransferReport
from osteon.dimse.requestor import RequestorError
from osteon.errors import Invalid

_LOOKED_AT: Final = 64
"""Files of which the beginning is read in one go."""
_MOST_TOLD: Final = 10_000
"""Failures that are kept; a report (--report) has all."""
_MOST_SHOWN: Final = 20


@with_common
def main(
    common: Common,
    *,
    words: Annotated[
        list[str], typer.Argument(metavar="HOST:PORT FILE|FOLDER...", help="The peer, then files and folders.")
    ],
    associations: Annotated[
        int, typer.Option("--associations", "-n", min=1, max=64, help="Concurrent associations.")
    ] = 1,
    window: Annotated[
        int, typer.Option("--window", min=1, max=64, help="Instances in flight on each, if the peer agrees.")
    ] = 8,
    retries: Annotated[
        int,
        typer.Option("--retries", min=0, help="How often to repeat an instance after an association ended early."),
    ] = 2,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Record each file; stored files are not sent again.")
    ] = None,
) -> None:
    """Send DICOM files and folders to a peer with C-STORE."""

    async def work(interrupt: Interrupt) -> int:
        host, port, names = address(words)
        if not names:
            raise Invalid("nothing to send: expected files or folders behind the address")
        remote = common.make_remote(host, port)
        ledger = TransferReport(report, f"{remote.aet}@{host}:{port}")
        await asyncio.to_thread(ledger.open)
        transfer = Transfer(common, [Path(name) for name in names], ledger)
        sending = StoreClient(
            remote,
            associations=associations,
            window=window,
            retries=retries,
            interrupt=interrupt,
            on_result=transfer.record,
        )
        return await transfer.run(sending)

    run(common, work)


main.__doc__ = f"{main.__doc__} {EXIT_CODES}"


@dataclass(slots=True)
class TransferCounts:
    """What came of it."""

    sent: int = 0
    warnings: int = 0
    failed: int = 0
    skipped: int = 0
    """Files in folders that hold no instance."""
    already: int = 0
    """In the report of an earlier transfer."""
    bytes: int = 0
    """Of data sets that were stored."""
    seconds: float = 0.0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)

    def fail(self, path: Path, reason: str) -> None:
        """Count a failure."""
        self.failed += 1
        if len(self.failures) < _MOST_TOLD:
            self.failures.append((path, reason))

    def leave_out(self, path: Path, reason: str) -> None:
        """Count a file that holds no instance."""
        self.skipped += 1
        if len(self.left_out) < _MOST_TOLD:
            self.left_out.append((path, reason))


class Transfer:
    """Finds files, sends them and reports the result."""

    def __init__(self, common: Common, paths: Sequence[Path], ledger: TransferReport) -> None:
        self._common, self._paths, self._ledger = common, paths, ledger
        self._tally = TransferCounts()
        self._bar = bar(common, "sending", sized=True)
        self._task = self._bar.add_task("", total=None, note="")
        self._total = 0

    async def run(self, sending: StoreClient) -> int:
        """Return the exit code. Raises `RequestorError` when nothing could be sent at all."""
        began = time.perf_counter()
        self._ledger.start()
        measuring = asyncio.create_task(self._measure())
        error: RequestorError | None = None
        try:
            with self._bar:
                await sending.run(self._files())
        except RequestorError as given_up:
            error = given_up
        finally:
            measuring.cancel()
            await self._ledger.close()
            self._tally.seconds = time.perf_counter() - began
        if error is not None and not self._tally.sent:
            raise error
        return self._finish(error)

    async def _measure(self) -> None:
        self._total, length = await asyncio.to_thread(measure, self._paths)
        self._bar.update(self._task, total=length)

    async def _files(self) -> AsyncIterator[DicomFile]:
        looking = find_files(self._paths)
        while looked_at := await asyncio.to_thread(_some, looking):
            for each in looked_at:
                if isinstance(each, UnusableFile):
                    self._unusable(each)
                elif self._ledger.contains(each):
                    self._tally.already += 1
                    self._advance(each.size)
                else:
                    yield each

    def _unusable(self, file: UnusableFile) -> None:
        if file.failed:
            self._tally.fail(file.path, file.reason)
        else:
            self._tally.leave_out(file.path, file.reason)

    def record(self, result: StoreResult) -> None:
        """Take the result of a file."""
        self._ledger.add(result)
        found, tally = result.found, self._tally
        if result.stored:
            tally.sent += 1
            tally.warnings += bool(result.reason)
            tally.bytes += found.size - found.offset
        else:
            tally.fail(found.path, result.reason)
        if self._common.verbose:
            typer.echo(f"{found.path}: {result.reason or 'stored'}", err=True)
        self._advance(found.size)

    def _advance(self, length: int) -> None:
        of = f" of {self._total}" if self._total else ""
        tally = self._tally
        note = f"{tally.sent + tally.already}{of} files" + (f", {tally.failed} failed" if tally.failed else "")
        self._bar.update(self._task, advance=length, note=note)

    def _finish(self, error: RequestorError | None) -> int:
        tally = self._tally
        if self._common.as_json:
            typer.echo(orjson.dumps(facts(tally, str(error or ""))))
        elif not self._common.quiet:
            typer.echo(summary(tally))
        if not self._common.as_json:
            _show(tally.failures, tally.failed)
            if not self._common.quiet:
                _show(tally.left_out, tally.skipped, "left out, ")
        if error is not None:
            report_error(f"given up, the rest was not sent: {error}", FAILED)
        return FAILED if tally.failed or error else DONE


def _some(looking: Iterator[DicomFile | UnusableFile]) -> list[DicomFile | UnusableFile]:
    return list(islice(looking, _LOOKED_AT))


def summary(tally: TransferCounts) -> str:
    """Return it in a line."""
    others = {
        "with a warning": tally.warnings,
        "failed": tally.failed,
        "sent before": tally.already,
        "files left out that hold no instance": tally.skipped,
    }
    rate = f"{tally.sent / tally.seconds:.0f} instances/s, {size(tally.bytes / tally.seconds)}/s"
    parts = [f"{tally.sent} sent ({size(tally.bytes)} in {tally.seconds:.1f} s, {rate})"]
    return ", ".join(parts + [f"{count} {what}" for what, count in others.items() if count])


def facts(tally: TransferCounts, error: str) -> dict[str, object]:
    """Return it for scripts."""
    return {
        "sent": tally.sent,
        "warnings": tally.warnings,
        "failed": tally.failed,
        "already": tally.already,
        "skipped": tally.skipped,
        "bytes": tally.bytes,
        "seconds": round(tally.seconds, 3),
        "error": error,
        "failures": [{"path": str(path), "reason": reason} for path, reason in tally.failures],
        "left_out": [{"path": str(path), "reason": reason} for path, reason in tally.left_out],
    }


def _show(files: Sequence[tuple[Path, str]], count: int, what: str = "") -> None:
    """Write files and reasons to standard error: the first ones, and how many there are of each reason."""
    for path, reason in files[:_MOST_SHOWN]:
        typer.echo(f"{path}: {what}{reason}", err=True)
    if count > _MOST_SHOWN:
        for reason, times in Counter(reason for _, reason in files).most_common(_MOST_SHOWN):
            typer.echo(f"{times} times: {what}{reason}", err=True)
