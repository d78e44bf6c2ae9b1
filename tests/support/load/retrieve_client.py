"""A requester of C-GET and C-MOVE that throws away what comes, in a process of its own: what it costs is the server's.

For a C-MOVE it is its own destination, under the AE title `SINK`.
"""

import multiprocessing
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import uvloop
from pydicom.uid import CTImageStorage

from osteon import logging
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import (
    AssociationInfo,
    Outcome,
    PresentationContext,
    RefusingHandler,
    RetrieveResponse,
    StoreRequest,
)
from osteon.dimse.requestor import Remote, RequestedAssociation, RequestedContext, associate
from osteon.dimse.status import Status
from support.dimse.raw_peer import EXPLICIT, STUDY_GET, STUDY_MOVE

CALLING, SINK = "BENCH", "SINK"
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class RetrieveResult:
    """How it went. Times in seconds; `instances` and `size` of what came."""

    seconds: float
    cpu: float
    instances: int
    size: int


class _Discarding(RefusingHandler):
    """Counts what comes."""

    def __init__(self) -> None:
        self.instances = self.size = 0

    def store(self, request: StoreRequest, context: PresentationContext) -> "_Discarding":
        return self

    def write(self, fragment: memoryview) -> None:
        self.size += len(fragment)

    async def finish(self) -> Outcome:
        self.instances += 1
        return Outcome(Status.SUCCESS)

    def abort(self) -> None: ...


def receive(how: str, port: int, aet: str, studies: Sequence[str], sink: int) -> RetrieveResult:
    """Ask for studies one after the other by `get` or `move` (to the port `sink`).

    Raises `AssertionError` unless each ends with success.
    """
    ours, theirs = _fork.Pipe(duplex=False)
    process = _fork.Process(target=_run, args=(theirs, how, port, aet, studies, sink), daemon=True)
    process.start()
    theirs.close()
    result = ours.recv()
    process.join()
    assert isinstance(result, RetrieveResult), result
    return result


def _run(result: Connection, how: str, port: int, aet: str, studies: Sequence[str], sink: int) -> None:
    logging.setup("receiver", level="ERROR")
    try:
        result.send(
            uvloop.run(_receive(how, Remote(aet=aet, host="127.0.0.1", port=port, calling_aet=CALLING), studies, sink))
        )
    except Exception as error:  # the parent reports whatever it was
        result.send(f"{type(error).__name__}: {error}")


async def _receive(how: str, remote: Remote, studies: Sequence[str], sink: int) -> RetrieveResult:
    taken = _Discarding()

    def handler(_: AssociationInfo) -> _Discarding:
        return taken

    acceptor = Acceptor(AcceptorConfig(aet=SINK), handler)
    await acceptor.start("127.0.0.1", sink)
    model = STUDY_GET if how == "get" else STUDY_MOVE
    contexts = [RequestedContext(abstract_syntax=model, transfer_syntaxes=(EXPLICIT,))]
    if how == "get":
        contexts.append(
            RequestedContext(abstract_syntax=CTImageStorage, transfer_syntaxes=(EXPLICIT,), scu=False, scp=True)
        )
    async with associate(remote, contexts) as association:
        cpu, began = time.process_time(), time.perf_counter()
        for study in studies:
            async for response in _ask(association, model, study, taken):
                last = response
            assert last.status is Status.SUCCESS, last
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    await acceptor.close()
    return RetrieveResult(seconds, cpu, taken.instances, taken.size)


def _ask(
    association: RequestedAssociation, model: str, study: str, taken: _Discarding
) -> AsyncIterator[RetrieveResponse]:
    context = association.context_for(model)
    assert context is not None, "not accepted"
    identifier = DatasetEncoder(EXPLICIT).encode(
        {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": [study]}}
    )
    if model == STUDY_GET:
        return association.get(context, identifier, taken.store)
    return association.move(context, identifier, SINK)
