"""`Reconciliation`: makes the instances of a study say what its reconciliations say, and no more than that.

What was received is never changed. Of each instance a second version is stored, with other attributes and the same
pixel data, and a decision to serve it, as people make them on conflicts; so search and every way out follow, and the
way back is a decision too. A job looks at what is served and does what is missing, so it may be repeated at any point.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from osteon.archive.conflicts import Version
from osteon.archive.resources import InstanceScope, Location
from osteon.conflicts import apply_decision
from osteon.contracts.conflicts import ConflictDecided
from osteon.contracts.packs import PackIndexed
from osteon.contracts.reconciliation import PatientCorrected, Reconciliation
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import MatchingKey, Search, Single
from osteon.errors import Invalid
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.packs import sidecar
from osteon.packs.ids import new_pack_id
from osteon.packs.pack_writer import Part10File
from osteon.reconciliation.job_params import ReconcileParams
from osteon.reconciliation.originals import as_received
from osteon.reconciliation.overlay import corrected_elements
from osteon.reconciliation.reconciled_file import write_reconciled_file
from osteon.reconciliation.requests import apply_correction, submit
from osteon.user_data.change import follow_renamed
from osteon_dispatcher.pack_delivery import NewPack, PackDelivery

_CHUNK: Final = 64
_CHUNK_BYTES: Final = 64 << 20
_AT_ONCE: Final = 8
_NAMED: Final = 20
"""Instances that failed and are named in the job's content."""
log = get_logger(__name__)


class NotReconciled(Invalid):
    """Some instances cannot be given other attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileContext:
    """What the job works with: `folder` is for files in flight."""

    index: Index
    objects: Objects
    packs: PackDelivery
    folder: Path


@dataclass(frozen=True, slots=True)
class _Task:
    """An instance of which a version is to be made, from `source`."""

    source: Version
    overlays: tuple[Reconciliation, ...]


async def reconcile(run: JobRun, *, context: ReconcileContext) -> None:
    """Bring a study to what its reconciliations say. Raises `NotReconciled`, and `Unavailable` to be run again."""
    uid = ReconcileParams.model_validate(run.job.params).study_uid
    while True:
        active = await _active(context.index, uid)
        study = _StudyRun(run, context, uid, active)
        await study.run()
        if active == await _active(context.index, uid):
            break
    await follow_renamed(uid, objects=context.objects, store=context.index.user_data, correlation_id=run.job.id)
    if study.failed:
        raise NotReconciled(f"{len(study.failed)} of {study.seen} instances not reconciled: {study.failed[0]}")


async def _active(index: Index, study_uid: str) -> Sequence[Reconciliation]:
    return (await index.reconciliations.of_studies([study_uid])).get(study_uid, ())


class _StudyRun:
    """One look at all instances of a study."""

    def __init__(
        self, run: JobRun, context: ReconcileContext, study_uid: str, active: Sequence[Reconciliation]
    ) -> None:
        self._run = run
        self._index, self._objects = context.index, context.objects
        self._context = context
        self._study_uid = study_uid
        self._active = active
        self.seen = self._changed = 0
        self.failed: list[str] = []

    async def run(self) -> None:
        total = await self._total()
        async for chunk in self._chunks():
            await self._bring([at.identity.sop_uid for at in chunk])
            self.seen = min(self.seen + len(chunk), total)
            await self._save(100 * self.seen // max(total, 1))

    async def _total(self) -> int:
        key = MatchingKey(("StudyInstanceUID",), Single(self._study_uid))
        found = await self._index.search(Search(Level.STUDY, (key,), one_per_uid=True))
        return sum(match.study.instances for match in found.matches if match.study)

    async def _save(self, progress: int) -> None:
        content = {
            **self._run.job.content,
            "InstancesCount": self.seen,
            "ChangedInstancesCount": self._changed,
            "FailedInstancesCount": len(self.failed),
            "FailedInstances": self.failed[:_NAMED],
            "Reconciliations": [each.reconciliation_id for each in self._active],
        }
        await self._run.save(progress=progress, content=content)

    async def _chunks(self) -> AsyncIterator[list[Location]]:
        """Iterate over the instances, some of a series at a time. Those that change come once more at the end."""
        chunk: list[Location] = []
        size = 0
        async for at in self._index.locate(InstanceScope(study_uid=self._study_uid)):
            full = len(chunk) >= _CHUNK or size + at.length > _CHUNK_BYTES
            if chunk and (full or at.identity.series_uid != chunk[0].identity.series_uid):
                yield chunk
                chunk, size = [], 0
            chunk.append(at)
            size += at.length
        if chunk:
            yield chunk

    async def _bring(self, sop_uids: Sequence[str]) -> None:
        """Serve what is to be served of some instances, and make what is missing for that."""
        missing: dict[tuple[str, str], list[_Task]] = defaultdict(list)
        for versions in (await self._index.versions(sop_uids)).values():
            served, source = versions[0], as_received(versions)
            overlays = tuple(each for each in self._active if _study_of(source) in each.sources)
            ids = _ids(overlays)
            wanted = next((each for each in versions if each.reconciled_by == ids), None) if ids else source
            if wanted is None:
                missing[source.pack_id, ids].append(_Task(source, overlays))
            elif wanted != served:
                await self._serve(wanted, served)
                self._changed += 1
        for tasks in missing.values():
            await self._make(tasks)

    async def _serve(self, version: Version, instead_of: Version) -> None:
        decision = _decision(self._run.job.id, version.location, instead_of.location.sha256)
        await self._objects.put(decision.key, decision.model_dump_json().encode())
        await apply_decision(decision, objects=self._objects, index=self._index)

    async def _make(self, tasks: Sequence[_Task]) -> None:
        """Store new versions of instances of one pack as a pack, and decisions to serve them, which it finds there."""
        lines = await self._lines([task.source.location for task in tasks])
        with TemporaryDirectory(prefix="reconcile-", dir=self._context.folder) as name:
            folder = Path(name)
            made: list[tuple[Part10File, ConflictDecided]] = []
            for task in tasks:
                at = task.source.location
                try:
                    elements = await asyncio.to_thread(corrected_elements, lines[at.offset], task.overlays)
                    if not elements:
                        continue
                    target = folder / f"{at.identity.sop_uid}.dcm"
                    sha256 = await self._write(at, elements, target)
                except Invalid as error:
                    log.warning("instance not reconciled", instance=at.identity.sop_uid, error=str(error))
                    self.failed.append(f"{at.identity.sop_uid}: {error}")
                    continue
                decision = _decision(self._run.job.id, at, at.sha256).model_copy(update={"kept": sha256.hex()})
                made.append((Part10File(at.identity.sop_uid, target), decision))
            if made:
                await self._decide_ahead([decision for _, decision in made])
                await self._store(tasks[0], [file for file, _ in made], folder)
                self._changed += len(made)

    async def _lines(self, places: Sequence[Location]) -> Mapping[int, bytes]:
        """Return the headers of instances of one pack, by their offsets."""
        data = await self._objects.get(*places[0].sidecar)
        return await asyncio.to_thread(_headers, data, {at.offset for at in places})

    async def _write(self, at: Location, elements: Mapping[str, Mapping[str, object]], target: Path) -> bytes:
        path, offset = self._objects.path(at.key), at.offset
        if path is not None:
            return await asyncio.to_thread(write_reconciled_file, path, offset, at.length, elements, target)
        source = target.with_suffix(".source")
        with await asyncio.to_thread(source.open, "xb") as file:
            async for chunk in self._objects.stream(at.key, offset, at.length):
                await asyncio.to_thread(file.write, chunk)
        try:
            return await asyncio.to_thread(write_reconciled_file, source, 0, at.length, elements, target)
        finally:
            await asyncio.to_thread(source.unlink)

    async def _decide_ahead(self, decisions: Sequence[ConflictDecided]) -> None:
        """Write the decisions before the versions come, so that these are served as soon as they are indexed."""
        for start in range(0, len(decisions), _AT_ONCE):
            some = decisions[start : start + _AT_ONCE]
            await asyncio.gather(*(self._objects.put(each.key, each.model_dump_json().encode()) for each in some))
        await self._index.note_decisions(decisions)

    async def _store(self, task: _Task, files: Sequence[Part10File], folder: Path) -> None:
        """Store a pack under the arrival of the instances that it was made of, and wait until it is indexed."""
        identity = task.source.location.identity
        made = NewPack(
            correlation_id=self._run.job.id,
            study_uid=identity.study_uid,
            series_uid=identity.series_uid,
            origin=task.source.origin,
            received_at=task.source.received,
            calling_aet=task.source.calling_aet,
            remote_host=task.source.remote_host,
            reconciled_by=_ids(task.overlays),
        )
        await self._context.packs.wait_for_index(await self._context.packs.store(made, files, folder))


def _headers(data: bytes, offsets: set[int]) -> dict[int, bytes]:
    _, lines = sidecar.decode(data)
    found = {line.offset: line.header.json for line in lines if line.offset in offsets}
    if found.keys() != offsets:
        raise sidecar.BadSidecar("an instance has no line in the sidecar of its pack")
    return found


def _study_of(version: Version) -> str:
    identity = version.location.identity
    return public_id(identity.patient_id, identity.study_uid)


def _ids(overlays: Sequence[Reconciliation]) -> str:
    return "+".join(each.reconciliation_id for each in overlays)


def _decision(correlation_id: str, kept: Location, other: bytes) -> ConflictDecided:
    return ConflictDecided(
        correlation_id=correlation_id,
        decision_id=new_pack_id(),
        sop_instance_uid=kept.identity.sop_uid,
        kept=kept.sha256.hex(),
        other=other.hex(),
        decided_at=datetime.now(UTC),
    )


async def reconcile_late(messages: Sequence[PackIndexed], *, index: Index) -> None:
    """Submit jobs for instances that came to a study after it was reconciled."""
    grown = {m.study_uid: m for m in messages if m.stored and not m.reconciled_by}
    if grown:
        for study_uid in await index.reconciliations.of_studies(list(grown)):
            await submit(index.jobs, study_uid, f"{grown[study_uid].pack_id} indexed")


async def correct_patient(message: PatientCorrected, *, index: Index, objects: Objects) -> None:
    """Reconcile the studies of a patient who was updated or merged; raises `BadCorrection`."""
    done = await apply_correction(message, objects=objects, index=index)
    log.info("patient corrected", occasion=message.event.value, studies=len(done))
