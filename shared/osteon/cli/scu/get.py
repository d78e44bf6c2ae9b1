"""`osteon get`: C-GET (PS3.4 C.4.3) into a folder.

An association has room for few of all SOP classes in all transfer syntaxes, and what a peer has is sent as it is only
in a context of its own. So the peer is queried for its SOP classes first, and the C-GET is repeated with other
ones as long as instances fail: each is sent in one of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from osteon.cli.scu.find import PeerSearch, proposed, text_of
from osteon.cli.scu.get_receiver import InstanceFolder
from osteon.cli.scu.keys import (
    SYNTAXES,
    Keys,
    LevelOption,
    QueryRequest,
    RootOption,
    parse_request,
    require_unique_key,
)
from osteon.cli.scu.options import EXIT_CODES, Common, Words, only_address, with_common
from osteon.cli.scu.progress import size
from osteon.cli.scu.retrieve_progress import RetrieveProgress
from osteon.cli.scu.runner import Interrupt, run, words
from osteon.dicom.models import Level
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from osteon.dimse.errors import AssociationAborted, NoAnswer, NotAccepted
from osteon.dimse.handler import Outcome, RetrieveResponse
from osteon.dimse.requestor import Remote, RequestedAssociation, RequestedContext, associate
from osteon.dimse.sop_classes import STORAGE_SYNTAXES, storage_classes
from osteon.dimse.status import Status

_MOST: Final = 127
"""Contexts beside the one of the C-GET."""
_NATIVE: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_COMPRESSED: Final = tuple(
    uid
    for uid, syntax in TRANSFER_SYNTAXES.items()
    if syntax.encapsulated and not syntax.retired and uid in STORAGE_SYNTAXES
)
_SOME_FAILED: Final = frozenset({0xB000, 0xA702})
"""Sub-operations have failed; the second when all have, by some peers."""
_PLAIN: Final = "1.2.840.10008.5.1.4.1.1."
"""The commonest SOP classes have the shortest UIDs below it."""


@with_common
def main(
    common: Common,
    *,
    where: Words,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the files.")] = Path(),
    keys: Keys = None,
    level: LevelOption = None,
    root: RootOption = None,
) -> None:
    """Retrieve matches of unique keys with C-GET, into FOLDER/study/series/instance.dcm."""

    async def work(interrupt: Interrupt) -> int:
        request = require_unique_key(parse_request(level, root, keys or [], {}))
        getting = GetTransfer(common, common.make_remote(*only_address(where)), request, out)
        with getting.retrieved.bar:
            await getting.run(interrupt)
        return getting.finish()

    run(common, work)


main.__doc__ = f"{main.__doc__} {EXIT_CODES}"


class GetTransfer:
    """One retrieval, by as many C-GETs as it takes."""

    def __init__(self, common: Common, remote: Remote, request: QueryRequest, out: Path) -> None:
        self.retrieved = RetrieveProgress(common, "getting")
        self._remote, self._request = remote, request
        self._folder = InstanceFolder(out, remote.aet, self._on_instance)
        self._files = self._bytes = 0
        self._failed: set[str] | None = None
        """Instances that failed each time."""

    async def run(self, interrupt: Interrupt) -> None:
        """Ask with some SOP classes after others. Raises `OsteonError`."""
        classes = await interrupt.stoppable(self._classes())
        if classes is None:
            return
        for contexts in batches(classes):
            async with associate(self._remote, [self._context(), *contexts]) as association:
                await interrupt.stoppable(self._get(association))
            if interrupt.requested.is_set() or not self._more():
                return

    def finish(self) -> int:
        """Tell about it; return the exit code."""
        return self.retrieved.finish(f"fetched ({size(self._bytes)})", files=self._files, bytes=self._bytes)

    async def _classes(self) -> list[str]:
        """Ask which SOP classes there are; empty when the peer does not say, which C-FIND need not be able to."""
        search = self._request.with_keys(Level.STUDY, "SOPClassesInStudy", "StudyInstanceUID")
        try:
            async with associate(self._remote, [proposed(search)]) as association:
                if not association.contexts:
                    return []
                async with aclosing(PeerSearch(association, search).matches()) as matches:
                    found = [text_of(match, "SOPClassesInStudy") async for match in matches]
        except (AssociationAborted, NoAnswer):
            return []  # the C-GET may still be answered
        return sorted({uid for text in found for uid in text.split("\\") if uid}) if all(found) else []

    def _context(self) -> RequestedContext:
        return RequestedContext(abstract_syntax=self._request.model.get, transfer_syntaxes=SYNTAXES)

    async def _get(self, association: RequestedAssociation) -> None:
        context = association.context_for(self._request.model.get, *SYNTAXES)
        if context is None:
            raise NotAccepted(f"the peer has accepted no presentation context for C-GET ({self._request.root} root)")
        identifier = self._request.identifier(context.transfer_syntax)
        before = self.retrieved.last
        async with aclosing(association.get(context, identifier, self._folder)) as responses:
            async for response in responses:
                self.retrieved.take(_added(before, response))

    def _more(self) -> bool:
        """Take stock after a C-GET: whether instances have failed that other contexts may bring."""
        last, reasons = self.retrieved.last, self.retrieved.reasons
        failed = set(last.failed_uids) | set(reasons)
        self._failed = failed if self._failed is None else self._failed & failed | set(reasons)
        status = Status.SUCCESS if last.status in _SOME_FAILED and not last.failed else last.status
        self.retrieved.take(replace(last, status=status, failed_uids=tuple(sorted(self._failed))))
        return last.failed > len(reasons) and status in _SOME_FAILED

    def _on_instance(self, uid: str, length: int, outcome: Outcome) -> None:
        if outcome.status is Status.SUCCESS:
            self._files += 1
            self._bytes += length
        else:
            self.retrieved.reasons[uid] = words(outcome.status, outcome.comment)


def _added(before: RetrieveResponse, response: RetrieveResponse) -> RetrieveResponse:
    """Return a response of a further C-GET, with what the ones before have completed."""
    # All that came then fails now, for want of a context.
    completed, warning = response.completed + before.completed, response.warning + before.warning
    failed = max(0, response.failed - before.completed - before.warning)
    return replace(response, completed=completed, warning=warning, failed=failed)


def batches(classes: Sequence[str]) -> Iterator[Sequence[RequestedContext]]:
    """Yield contexts for these SOP classes, or for all when none is known, as many as an association takes.

    What is native and what is compressed of unknown classes is requested apart: some peers (DCMTK's) look at the first
    context of a SOP class only.
    """
    if classes:
        kinds = [(uid, syntaxes) for uid in classes for syntaxes in (_NATIVE, *((each,) for each in _COMPRESSED))]
    else:
        ordered = sorted(storage_classes(), key=lambda uid: (not uid.startswith(_PLAIN), len(uid), uid))
        kinds = [(uid, syntaxes) for syntaxes in (_NATIVE, _COMPRESSED) for uid in ordered]
    proposals = [RequestedContext(abstract_syntax=uid, transfer_syntaxes=syntaxes, scp=True) for uid, syntaxes in kinds]
    for at in range(0, len(proposals), _MOST):
        yield proposals[at : at + _MOST]
