"""An archive's storage commitment without jobs that run by themselves, and pynetdicom peers for it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel

from osteon.commitment.port import CommitmentItem
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.config import AcceptorConfig, Remote
from osteon.dimse.handler import ActionRequest, AssociationInfo, EventReport, Outcome, RefusingHandler, Reporter
from osteon.jobs.port import Job
from osteon.remotes.port import Modality
from osteon.sending.store_sender import StoreSender
from osteon_dispatcher.commitment.rpc import serve
from osteon_dispatcher.job_types import JobContext, job_types
from osteon_dispatcher.settings import DispatcherBaseSettings
from osteon_ingress.commitment import AssociationCommitments
from support.dicom.datasets import ct_slice
from support.dimse.pynetdicom_acceptor import accepting
from support.index.stored_packs import CT
from support.indexer.ports import IndexerPorts, indexer_room
from support.jobs.in_memory import FakeJobs, FakeRun

INSTANCE = "1.2.840.10008.1.20.1.1"
UNKNOWN = CommitmentItem(CT, "1.2.3.999")


class CommitmentHandler(RefusingHandler):
    """What `ingress` does with storage commitment."""

    def __init__(self, info: AssociationInfo, room: IndexerPorts) -> None:
        self._commitments = AssociationCommitments(info, room.bus)

    async def action(self, request: ActionRequest, reporter: Reporter | None) -> Outcome:
        return await self._commitments.action(request, reporter)

    async def report(self, report: EventReport) -> Outcome:
        return await self._commitments.report(report)

    async def closed(self) -> None:
        await self._commitments.close()


def _no_acceptor() -> Remote:
    raise AssertionError("storage commitment needs no acceptor")


@dataclass
class CommitmentArchive:
    """An archive without jobs that run by themselves."""

    room: IndexerPorts
    port: int
    jobs: FakeJobs = field(default_factory=FakeJobs)

    async def stored(self) -> CommitmentItem:
        dataset = ct_slice()
        await self.room.run(await self.room.put(f"{len(self.room.indexed):032x}", dataset))
        return CommitmentItem(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))

    async def run(
        self, job: Job | None = None, *, wait: float = 0.0, depth: str = "object", linger: float = 0.0
    ) -> None:
        """Run the newest job once."""
        run = FakeRun(self.jobs, job or list(self.jobs.all.values())[-1])
        context = JobContext(
            settings=DispatcherBaseSettings(
            commitment_check=depth, commitment_wait_seconds=wait, commitment_linger_seconds=linger
        ),
            bus=self.room.bus, objects=self.room.objects, index=self.room.index,
            sender=StoreSender(self.room.objects, self.room.bus), own_acceptor=_no_acceptor,
            folder=Path(gettempdir()),
        )  # fmt: skip
        await job_types(context)[run.job.type].work(run)


@asynccontextmanager
async def commitment_world(folder: Path) -> AsyncIterator[CommitmentArchive]:
    """Make one below `folder`."""
    async with indexer_room(folder) as room:
        acceptor = Acceptor(AcceptorConfig(), lambda info: CommitmentHandler(info, room))
        made = CommitmentArchive(room, await acceptor.start("127.0.0.1", 0))
        await serve(room.bus, room.index.commitments, made.jobs)
        yield made
        await acceptor.close()


def asking_for(*items: CommitmentItem, uid: str = "1.2.3") -> Dataset:
    asked = Dataset()
    asked.TransactionUID = uid
    asked.ReferencedSOPSequence = []
    for sop_class, sop_instance in items:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class, sop_instance
        asked.ReferencedSOPSequence.append(reference)
    return asked


@dataclass
class ReceivedReports:
    """What a pynetdicom peer was told: (event type, transaction, committed, failed)."""

    status: int = 0x0000
    got: list[tuple[int, str, list[str], dict[str, int]]] = field(default_factory=list)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def take(self, event: Any) -> tuple[int, None]:
        told = event.event_information
        committed = [str(item.ReferencedSOPInstanceUID) for item in told.get("ReferencedSOPSequence", [])]
        failed = {str(item.ReferencedSOPInstanceUID): item.FailureReason for item in told.get("FailedSOPSequence", [])}
        self.got.append((event.event_type, str(told.TransactionUID), committed, failed))
        self.came.release()
        return self.status, None

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.came.acquire, timeout=20)


@asynccontextmanager
async def association(world: CommitmentArchive, reports: ReceivedReports) -> AsyncIterator[Association]:
    """Ask Osteon for an association."""
    ae = AE("MODALITY")
    ae.add_requested_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.take)]
    made = await asyncio.to_thread(ae.associate, "127.0.0.1", world.port, ae_title="OSTEON", evt_handlers=handlers)
    assert made.is_established
    try:
        yield made
    finally:
        await asyncio.to_thread(made.release)


async def action(made: Association, asked: Dataset) -> int:
    status, _ = await asyncio.to_thread(made.send_n_action, asked, 1, StorageCommitmentPushModel, INSTANCE)
    return int(status.Status)


async def ask_and_leave(world: CommitmentArchive, asked: Dataset) -> None:
    async with association(world, ReceivedReports()) as made:
        assert await action(made, asked) == 0x0000


@contextmanager
def listening(reports: ReceivedReports, port: int, *, aet: str = "MODALITY", actions: Any = None) -> Iterator[None]:
    """Wait for associations as pynetdicom, which grants the role of the provider."""
    ae = AE(aet)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.take)]
    if actions is not None:
        handlers.append((evt.EVT_N_ACTION, actions))
    with accepting(ae, *handlers, port=port):
        yield


async def known(world: CommitmentArchive, port: int, name: str = "modality", aet: str = "MODALITY") -> Modality:
    modality = Modality(name=name, aet=aet, host="127.0.0.1", port=port)
    await world.room.index.remotes.put_modality(modality)
    return modality
