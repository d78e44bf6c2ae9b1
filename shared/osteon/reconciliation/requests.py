"""Beginning and undoing reconciliations: an object beside the packs first, then a row, then a job that applies it."""

from collections.abc import AsyncIterator, Mapping, Set
from datetime import UTC, datetime
from typing import Final, Protocol

from pydantic import ValidationError

from osteon.archive.errors import ResourceNotFound
from osteon.archive.ports import ResourceSearch
from osteon.archive.resources import Match
from osteon.contracts.reconciliation import PREFIX, CorrectionEvent, PatientCorrected, Reconciliation
from osteon.dicom.models import Level
from osteon.dicom.query import MatchingKey, Search, Single
from osteon.jobs.port import Job, Jobs
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs.ids import new_pack_id
from osteon.reconciliation.job_params import ReconcileParams
from osteon.reconciliation.overlay import BadCorrection, check_replacements
from osteon.reconciliation.port import Reconciliations

log = get_logger(__name__)
_PAGE: Final = 100
_PATIENT_ATTRIBUTES: Final = ("PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID")
"""What a patient who remains after a merge gives to the studies of the other one."""


class ReconciliationIndex(ResourceSearch, Protocol):
    """The index as reconciliations need it."""

    @property
    def reconciliations(self) -> Reconciliations:
        """See `Index`."""

    @property
    def jobs(self) -> Jobs:
        """See `Index`."""

    async def sources_of(self, study_id: str) -> Set[str]:
        """See `Index`."""

    async def current_id(self, level: Level, former: str) -> str:
        """See `Index`."""


async def reconcile_study(
    study: Match,
    replace: Mapping[str, str],
    *,
    objects: Objects,
    index: ReconciliationIndex,
    requester: str,
    reason: str,
    correlation_id: str,
) -> tuple[Reconciliation, Job]:
    """Lay corrected attributes over a study; returns the reconciliation and the job that applies it.

    Raises `BadCorrection`, and `ResourceNotFound` when the study has gone meanwhile.
    """
    assert study.study is not None
    checked = check_replacements(replace)
    served = {**study.study.patient_attributes, **study.study.attributes}
    made = Reconciliation(
        correlation_id=correlation_id,
        reconciliation_id=new_pack_id(),
        study_uid=study.study.attributes["StudyInstanceUID"],
        sources=tuple(sorted(await index.sources_of(study.study.public_id))),
        replace=checked,
        before={keyword: served[keyword] for keyword in checked if keyword in served},
        requester=requester,
        reason=reason,
        created_at=datetime.now(UTC),
    )
    await _store(made, objects, index)
    log.info("study reconciled", study=made.study_uid, reconciliation=made.reconciliation_id, attributes=list(checked))
    return made, await submit(index.jobs, made.study_uid, f"{made.reconciliation_id} begun")


async def undo(
    made: Reconciliation, *, objects: Objects, index: ReconciliationIndex, requester: str
) -> tuple[Reconciliation, Job]:
    """Take a reconciliation back; others of the study stay. To repeat it changes nothing."""
    if made.active:
        made = made.model_copy(update={"undone_at": datetime.now(UTC), "undone_requester": requester})
        await _store(made, objects, index)
        log.info("reconciliation undone", study=made.study_uid, reconciliation=made.reconciliation_id)
    return made, await submit(index.jobs, made.study_uid, f"{made.reconciliation_id} undone")


async def submit(jobs: Jobs, study_uid: str, occasion: str) -> Job:
    """Submit the job that brings a study to what its reconciliations say; the same occasion has one job."""
    params = ReconcileParams(study_uid=study_uid)
    content = {"Description": "Reconcile a study", "StudyInstanceUID": study_uid}
    return await jobs.submit(params.TYPE, params.params(), content=content, key=f"reconcile {study_uid} {occasion}")


async def studies_of(index: ResourceSearch, keyword: str, value: str) -> AsyncIterator[Match]:
    """Iterate over the studies of a Patient ID or an Accession Number, exactly as it is spelled."""
    cursor = None
    while True:
        key = MatchingKey((keyword,), Single(value))
        page = await index.search(Search(Level.STUDY, (key,), case_sensitive=True, limit=_PAGE, cursor=cursor))
        for match in page.matches:
            yield match
        if (cursor := page.cursor) is None:
            return


async def apply_correction(
    correction: PatientCorrected, *, objects: Objects, index: ReconciliationIndex
) -> list[tuple[Reconciliation, Job]]:
    """Reconcile all studies of a patient who was updated, or who is another patient now (as ADT^A08 and ADT^A40 say).

    Studies that say so already are left alone, so that a correction may come twice. Raises `BadCorrection`.
    """
    replace = dict(correction.replace)
    patient_id = correction.patient_id
    if correction.event is CorrectionEvent.PATIENTS_MERGED:
        patient_id = correction.prior_patient_id
        if not patient_id or patient_id == correction.patient_id:
            raise BadCorrection("PriorPatientID: expected the Patient ID of another patient")
        remaining = [match async for match in studies_of(index, "PatientID", correction.patient_id)][:1]
        known = remaining[0].study.patient_attributes if remaining and remaining[0].study else {}
        taken = {keyword: known[keyword] for keyword in _PATIENT_ATTRIBUTES if known.get(keyword)}
        replace = {**taken, **replace, "PatientID": correction.patient_id}
    checked = check_replacements(replace)
    # All first: what is reconciled is another patient's then.
    studies = [match async for match in studies_of(index, "PatientID", patient_id)]
    done = []
    for match in studies:
        served = {**match.study.patient_attributes, **match.study.attributes} if match.study else {}
        if any(served.get(keyword, "") != value for keyword, value in checked.items()):
            done.append(
                await reconcile_study(
                    match,
                    checked,
                    objects=objects,
                    index=index,
                    requester=correction.requester,
                    reason=correction.reason or correction.event.value,
                    correlation_id=correction.correlation_id,
                )
            )
    return done


async def restore_records(*, objects: Objects, reconciliations: Reconciliations) -> int:
    """Write the rows of the reconciliations in the object store that the index lacks; returns how many there were."""
    restored = 0
    async for info in objects.list(PREFIX):
        try:
            stored = Reconciliation.model_validate_json(await objects.get(info.key))
            if stored == await _row_of(stored, reconciliations):
                continue
            await reconciliations.put(stored)
        except (ValidationError, ObjectNotFound) as error:
            log.error("reconciliation not restored", key=info.key, error=str(error))
        else:
            restored += 1
    return restored


async def _row_of(stored: Reconciliation, reconciliations: Reconciliations) -> Reconciliation | None:
    try:
        return await reconciliations.get(stored.reconciliation_id)
    except ResourceNotFound:
        return None


async def _store(made: Reconciliation, objects: Objects, index: ReconciliationIndex) -> None:
    await objects.put(made.key, made.model_dump_json().encode())
    await index.reconciliations.put(made)
