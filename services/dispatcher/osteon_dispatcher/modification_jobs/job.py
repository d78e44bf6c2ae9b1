"""`ResourceModification`, `MergeStudy`, `SplitStudy`: make new instances from stored ones, and store them.

UIDs of new instances come from the job's id and the old UIDs, and the same instance gives the same bytes: what is made
again after a crash is known already, so nothing is lost or doubled.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from osteon.archive.changes import ChangeType
from osteon.archive.errors import ResourceNotFound
from osteon.archive.pack_records import InstanceState
from osteon.bus.port import Bus
from osteon.contracts.packs import Origin
from osteon.contracts.user_data import MetadataValue
from osteon.contracts.user_data_names import SYSTEM_METADATA
from osteon.dicom.identity import Identity
from osteon.dicom.models import Level
from osteon.errors import Invalid, NotFound
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.logging import get_logger
from osteon.modification.deidentification import Deidentifier, change_of
from osteon.modification.instance_writer import InstanceWriter
from osteon.modification.job_params import MergeParams, ModificationParams, SplitParams
from osteon.modification.uids import UidMapping
from osteon.objects.port import Objects
from osteon.packs.pack_writer import Part10File
from osteon.user_data.change import change_user_data
from osteon.user_data.port import UserData
from osteon_dispatcher.modification_jobs.checkpoint import LEVELS, ModificationCheckpoint
from osteon_dispatcher.pack_delivery import NewPack, PackDelivery
from osteon_dispatcher.store_jobs.resources import InstancePosition, PositionedInstance, iter_instances

_PACK_INSTANCES: Final = 256
_PACK_BYTES: Final = 64 << 20
_MAX_FAILURES: Final = 1_000
"""Instances that may fail before a job is given up."""
_SEGMENTS: Final = {Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
_CHANGES: Final = {
    Level.PATIENT: ChangeType.MODIFIED_PATIENT,
    Level.STUDY: ChangeType.MODIFIED_STUDY,
    Level.SERIES: ChangeType.MODIFIED_SERIES,
}
_ANONYMIZED: Final = {
    Level.PATIENT: ChangeType.ANONYMIZED_PATIENT,
    Level.STUDY: ChangeType.ANONYMIZED_STUDY,
    Level.SERIES: ChangeType.ANONYMIZED_SERIES,
}
log = get_logger(__name__)


class NotModified(Invalid):
    """Some instances could not be made; the message says how many, and why the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModificationContext:
    """What the jobs work with: `folder` is for files in flight."""

    index: Index
    objects: Objects
    bus: Bus
    packs: PackDelivery
    folder: Path
    transcode_seconds: float
    deidentification_key: str = ""


async def modify(run: JobRun, *, context: ModificationContext) -> None:
    """Make the new instances of a job; raises `NotModified`, and `Unavailable` to be run again."""
    params = ModificationParams.model_validate(run.job.params)
    uids = UidMapping(run.job.id)
    with TemporaryDirectory(prefix="modify-", dir=context.folder) as folder:
        job = _ModificationRun(run, params, uids, context, Path(folder))
        await job.make_all()
    await job.finish()


@dataclass(frozen=True, slots=True)
class _Made:
    """A new instance, its file, and where its source was."""

    source: PositionedInstance
    identity: Identity
    path: Path


@dataclass(slots=True)
class _Group:
    """New instances of one series that become one pack, and what failed between them."""

    made: dict[str, _Made] = field(default_factory=dict)
    size: int = 0
    seen: int = 0
    position: InstancePosition | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)

    def takes(self, identity: Identity, size: int) -> bool:
        """Whether another instance may join."""
        if not self.made:
            return True
        first = next(iter(self.made.values())).identity
        same = (first.study_uid, first.series_uid) == (identity.study_uid, identity.series_uid)
        room = len(self.made) < _PACK_INSTANCES and self.size + size <= _PACK_BYTES
        return same and room and identity.sop_uid not in self.made


class _ModificationRun:
    """One run of a job."""

    def __init__(
        self, run: JobRun, params: ModificationParams, uids: UidMapping, context: ModificationContext, folder: Path
    ) -> None:
        self._run = run
        self._params = params
        self._uids = uids
        self._context = context
        self._folder = folder
        self._checkpoint = ModificationCheckpoint.from_json(run.job.checkpoint)
        self._change = change_of(params.modification, job_key=run.job.id, key=context.deidentification_key)
        self._writer = InstanceWriter(
            context.objects,
            context.bus,
            transcode=params.modification.transcode,
            quality=params.modification.lossy_quality,
            transcode_seconds=context.transcode_seconds,
        )
        self._storing: asyncio.Task[None] | None = None
        self._number = 0

    @property
    def _anonymizes(self) -> bool:
        return isinstance(self._change, Deidentifier)

    async def make_all(self) -> None:
        """Make and store what is missing. One pack is on its way while the next one is made."""
        if self._checkpoint.total is None:
            await self._count()
        group = _Group()
        try:
            async for each in self._sources():
                made = await self._make(each, group)
                if made is not None and not group.takes(made.identity, made.path.stat().st_size):
                    await self._store(group)
                    group = _Group()
                if made is not None:
                    group.made[made.identity.sop_uid] = made
                    group.size += made.path.stat().st_size
                group.seen, group.position = group.seen + 1, each.position
            await self._store(group)
            await self._stored()
        finally:
            if self._storing is not None:
                self._storing.cancel()
                await asyncio.gather(self._storing, return_exceptions=True)

    async def _count(self) -> None:
        total, last_pack = 0, ""
        async for each in iter_instances(self._context.index, self._params.resources):
            total += 1
            last_pack = max(last_pack, _pack_of(each))
        self._checkpoint.total, self._checkpoint.last_pack = total, last_pack
        await self._save()

    async def _sources(self) -> AsyncIterator[PositionedInstance]:
        """Iterate over what is to be done. What the job itself made is not, even when it is in the same study."""
        after = self._checkpoint.position
        async for each in iter_instances(self._context.index, self._params.resources, after):
            own = not self._anonymizes and self._uids.is_new(each.instance.sop_instance_uid)
            if not own and _pack_of(each) <= self._checkpoint.last_pack:
                yield each

    async def _make(self, each: PositionedInstance, group: _Group) -> _Made | None:
        self._number += 1
        path = self._folder / f"{self._number}.dcm"
        try:
            made = await self._writer.write(each.instance, self._change, path)
        except (Invalid, NotFound) as error:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            group.failures.append((each.instance.sop_instance_uid, str(error)))
            # The error may quote a value, which is the job's to show.
            log.warning("instance not modified", instance=each.instance.sop_instance_uid, reason=type(error).__name__)
            return None
        return _Made(each, made.identity, path)

    async def _store(self, group: _Group) -> None:
        """Begin to store a group, once the one before is stored."""
        await self._stored()
        if group.seen:
            self._storing = asyncio.create_task(self._deliver(group))

    async def _stored(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            try:
                await storing
            except asyncio.CancelledError:
                storing.cancel()
                await asyncio.gather(storing, return_exceptions=True)
                raise

    async def _deliver(self, group: _Group) -> None:
        """Store a pack, wait until it is indexed, and note how far the job is."""
        checkpoint = self._checkpoint
        for sop_uid, reason in group.failures:
            checkpoint.note_failed(sop_uid, reason)
        if group.made:
            await self._deliver_pack(list(group.made.values()))
        checkpoint.done += group.seen
        checkpoint.position = group.position
        await self._save()
        if checkpoint.failed > _MAX_FAILURES:
            raise self._failure()

    async def _deliver_pack(self, made: list[_Made]) -> None:
        identity = made[0].identity
        pack = NewPack(
            correlation_id=self._run.job.id,
            study_uid=identity.study_uid,
            series_uid=identity.series_uid,
            origin=Origin.HTTP,
            received_at=datetime.now(UTC),
        )
        files = [Part10File(each.identity.sop_uid, each.path) for each in made]
        pack_id = await self._context.packs.store(pack, files, self._folder)
        for each in made:
            await asyncio.to_thread(each.path.unlink)
        await self._context.packs.wait_for_index(pack_id)
        states = await self._context.index.outcome(pack_id)
        kept = []
        for each in made:
            if states.get(each.identity.sop_uid) is InstanceState.CONFLICT:
                reason = f"another instance is stored under its new SOP Instance UID {each.identity.sop_uid}"
                self._checkpoint.note_failed(each.source.instance.sop_instance_uid, reason)
            else:
                self._checkpoint.note_made(each.source.location.identity, each.identity)
                kept.append(each)
        if self._params.keep_labels:
            await self._keep_labels(
                Level.IMAGE, {each.identity.public_instance: each.source.location.public_id for each in kept}
            )

    async def finish(self) -> None:
        """Note what new resources were made from, and end the job; raises `NotModified`."""
        checkpoint = self._checkpoint
        if not checkpoint.logged:
            for level in LEVELS:
                new = {made: old for made, old in checkpoint.sources[level.value].items() if made != old}
                for made, old in new.items():
                    await self._note_source(level, made, old)
                if self._params.keep_labels:
                    await self._keep_labels(level, new)
            await self._log_changes()
            checkpoint.logged = True
        await self._save()
        if checkpoint.failed and not self._params.permissive:
            raise self._failure()

    def _failure(self) -> NotModified:
        uid, reason = next(iter(self._checkpoint.failures.items()))
        return NotModified(
            f"{self._checkpoint.failed} of {self._checkpoint.total} instances not modified: {uid}: {reason}"
        )

    async def _log_changes(self) -> None:
        if self._run.job.type != ModificationParams.TYPE:
            return
        sources = self._checkpoint.sources
        await self._context.index.log_changes(
            [
                ((_ANONYMIZED if self._anonymizes else _CHANGES)[level], level, made)
                for level in reversed(LEVELS)
                for made in sources[level.value]
            ]
        )

    async def _note_source(self, level: Level, made: str, old: str) -> None:
        code = SYSTEM_METADATA["AnonymizedFrom" if self._anonymizes else "ModifiedFrom"]

        def noted(data: UserData) -> UserData:
            return replace(data, metadata={**data.metadata, code: MetadataValue(value=old)})

        await self._change_user_data(level, made, noted)

    async def _keep_labels(self, level: Level, sources: Mapping[str, str]) -> None:
        known = await self._context.index.user_data.read_many(level, list(set(sources.values())))
        for made, old in sources.items():
            if (labels := known[old].labels if old in known else frozenset()) and made != old:
                await self._change_user_data(
                    level, made, lambda data, labels=labels: replace(data, labels=data.labels | labels)
                )

    async def _change_user_data(self, level: Level, public_id: str, change: Any) -> None:
        with suppress(ResourceNotFound):  # it was reconciled meanwhile
            await change_user_data(
                level,
                public_id,
                change,
                objects=self._context.objects,
                store=self._context.index.user_data,
                correlation_id=self._run.job.id,
            )

    async def _save(self) -> None:
        checkpoint = self._checkpoint
        if isinstance(self._change, Deidentifier):
            checkpoint.report.update(self._change.report)
        content = {
            **self._run.job.content,
            "InstancesCount": checkpoint.total or 0,
            "FailedInstancesCount": checkpoint.failed,
            **({"FailedInstances": checkpoint.failures} if checkpoint.failures else {}),
            **({"Report": checkpoint.report} if checkpoint.report else {}),
            **self._result(),
        }
        await self._run.save(progress=checkpoint.percent, content=content, checkpoint=checkpoint.to_json())

    def _result(self) -> dict[str, Any]:
        checkpoint, first = self._checkpoint, self._checkpoint.first
        if not first:
            return {}
        if self._run.job.type in (MergeParams.TYPE, SplitParams.TYPE):
            study = first[Level.STUDY.value]
            return {"TargetStudy": study, "TargetStudyUID": checkpoint.target}
        if not self._params.bulk:
            level = self._params.modification.level
            public_id = first[level.value]
            return {**_resource(level, public_id), "PatientID": first[Level.PATIENT.value]}
        listed = [_resource(Level.IMAGE, each) for each in checkpoint.instances]
        for level in reversed(LEVELS):
            listed += [_resource(level, each) for each in checkpoint.sources[level.value]]
        return {"Resources": listed}


def _resource(level: Level, public_id: str) -> dict[str, str]:
    kind = "Instance" if level is Level.IMAGE else level.value.title()
    return {"ID": public_id, "Path": f"/{_SEGMENTS[level]}/{public_id}", "Type": kind}


def _pack_of(each: PositionedInstance) -> str:
    return each.position.key.rpartition("/")[2]
