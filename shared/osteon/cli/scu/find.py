"""`osteon find`: C-FIND (PS3.4 C.4.1), as a table, CSV or JSON."""

import asyncio
import csv
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

from osteon.cli.scu.keys import SYNTAXES, Keys, LevelOption, QueryRequest, RootOption, parse_request
from osteon.cli.scu.options import EXIT_CODES, Common, Words, only_address, with_common
from osteon.cli.scu.runner import DONE, FAILED, Interrupt, report_error, run, words
from osteon.dicom.attribute_names import keyword_of
from osteon.dicom.attributes import element_text
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.models import Level
from osteon.dimse.errors import NotAccepted
from osteon.dimse.requestor import RequestedAssociation, RequestedContext, associate
from osteon.dimse.status import Status

WANTED: Final = {
    Level.PATIENT: ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    Level.STUDY: (
        "StudyDate", "PatientID", "PatientName", "AccessionNumber", "StudyDescription", "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances", "StudyInstanceUID",
    ),
    Level.SERIES: (
        "Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances", "SeriesInstanceUID",
    ),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}  # fmt: skip
"""Keys that are requested and shown when the caller names none."""
_READ_AT_ONCE: Final = 64 << 10
"""Bytes of an answer that is read without a thread."""

Match = dict[str, Any]
"""DICOM JSON (PS3.18 F.2)."""


@with_common
def main(
    common: Common,
    *,
    where: Words,
    keys: Keys = None,
    level: LevelOption = None,
    root: RootOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Cancel (C-CANCEL) after this number of matches; 0: all.")
    ] = 0,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
) -> None:
    """Search a peer with C-FIND."""

    async def work(interrupt: Interrupt) -> int:
        request = parse_request(level, root, keys or [], WANTED)
        remote = common.make_remote(*only_address(where))
        shown: MatchWriter = _Json() if common.as_json else _Csv(request.names) if as_csv else _Table(request.names)
        try:
            async with associate(remote, [proposed(request)]) as association:
                search = PeerSearch(association, request, limit)
                await interrupt.stoppable(_show(search, shown))
        finally:
            shown.end()
        return _verdict(search, common)

    run(common, work)


main.__doc__ = f"{main.__doc__} {EXIT_CODES}"


def _verdict(search: "PeerSearch", common: Common) -> int:
    if search.status.is_failure:
        return report_error(f"C-FIND failed: {words(search.status, search.comment)}", FAILED)
    if search.cut and not common.quiet:
        return report_error("cancelled after as many matches as --limit says; there are more", DONE)
    return DONE


def proposed(request: QueryRequest) -> RequestedContext:
    """Return the context for a search."""
    return RequestedContext(abstract_syntax=request.model.find, transfer_syntaxes=SYNTAXES)


class PeerSearch:
    """One C-FIND. `status` and `comment` are the final ones; `cut`: there were more than `limit` (0: none) matches."""

    def __init__(self, association: RequestedAssociation, request: QueryRequest, limit: int = 0) -> None:
        context = association.context_for(request.model.find, *SYNTAXES)
        if context is None:
            raise NotAccepted(f"the peer has accepted no presentation context for C-FIND ({request.root} root)")
        self._association, self._context, self._request, self._limit = association, context, request, limit
        self._reader = HeaderReader()
        self.status, self.comment, self.cut = Status.SUCCESS, "", False

    async def matches(self) -> AsyncGenerator[Match]:
        """Yield matches. Raises `OsteonError`."""
        found = 0
        identifier = self._request.identifier(self._context.transfer_syntax)
        async with aclosing(self._association.find(self._context, identifier)) as responses:
            async for response in responses:
                if not response.status.is_pending:
                    self.status, self.comment = response.status, response.comment
                    return
                if self._limit and found == self._limit:
                    self.cut = True
                    return
                found += 1
                yield await self._read(response.identifier or b"")

    async def _read(self, identifier: bytes) -> Match:
        read = partial(self._reader.read_beginning, identifier, self._context.transfer_syntax)
        header = read() if len(identifier) < _READ_AT_ONCE else await asyncio.to_thread(read)
        if header.unread:
            report_error(f"a match can be read in part only: {header.unread}", FAILED)
        match: Match = orjson.loads(header.json)
        return match


async def _show(search: PeerSearch, shown: "MatchWriter") -> None:
    async with aclosing(search.matches()) as matches:
        async for match in matches:
            shown.add(match)


class MatchWriter:
    """How matches are printed."""

    def add(self, match: Match) -> None:
        """Take the next match."""
        raise NotImplementedError

    def end(self) -> None:
        """There are no more."""


class _Table(MatchWriter):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._table = Table(*names, box=None)
        self._count = 0

    def add(self, match: Match) -> None:
        self._table.add_row(*(text_of(match, name) for name in self._names))
        self._count += 1

    def end(self) -> None:
        # Cut off UIDs are of no use where the output is not a screen.
        console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
        if self._count:
            console.print(self._table)
        typer.echo(f"{self._count} match" + "es" * (self._count != 1), err=True)


class _Csv(MatchWriter):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._writer = csv.writer(sys.stdout)
        self._writer.writerow(names)

    def add(self, match: Match) -> None:
        self._writer.writerow([text_of(match, name) for name in self._names])


class _Json(MatchWriter):
    def __init__(self) -> None:
        self._next = "["

    def add(self, match: Match) -> None:
        typer.echo(self._next + orjson.dumps(by_keyword(match)).decode(), nl=False)
        self._next = ",\n"

    def end(self) -> None:
        typer.echo("[]" if self._next == "[" else "]")


def text_of(match: Match, name: str) -> str:
    r"""Return the value of `Keyword` or `Sequence.Keyword` (of all items) as text, several values joined by `\`."""
    first, _, rest = name.partition(".")
    element: Match = next((e for tag, e in match.items() if (keyword_of(tag) or tag) == first), {})
    items = element.get("Value", ()) if element.get("vr") == "SQ" else ()
    if not rest:
        return f"{len(items)} items" if items else element_text(element)
    return "\\".join(text_of(item, rest) for item in items if isinstance(item, dict))


def by_keyword(match: Match) -> dict[str, Any]:
    r"""Return keyword → text (values joined by `\`), and of sequences lists of the same."""
    return {keyword_of(tag) or tag: _plain(element) for tag, element in match.items() if tag != "00080005"}


def _plain(element: dict[str, Any]) -> Any:
    if element.get("vr") == "SQ":
        return [by_keyword(item or {}) for item in element.get("Value", ())]
    return element_text(element)
