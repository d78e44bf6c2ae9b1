"""What C-MOVE and C-GET jobs have in common: one request for each resource, and the checkpoint between them."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from osteon.dicom.attribute_names import tag_of, vr_of_tag
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.json_values import json_values
from osteon.dicom.text_encoder import UNICODE, text_encoder_for
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from osteon.dimse.config import Remote, RequestedContext, RequestorConfig
from osteon.dimse.errors import NotAccepted
from osteon.dimse.handler import PresentationContext, RetrieveResponse
from osteon.dimse.requestor import RequestedAssociation
from osteon.dimse.status import Status
from osteon.errors import Invalid, Unavailable
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.remotes.job_params import RetrieveParams
from osteon.remotes.port import Modality
from osteon_dispatcher.checkpoints import with_checkpoints
from osteon_dispatcher.remote_addresses import RemoteOf

SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_LATIN: Final = text_encoder_for(("ISO_IR 100",)) or UNICODE
"""Most archives understand it; what it lacks is sent in UTF-8."""
RequestResource = Callable[[Mapping[str, str]], AsyncGenerator[RetrieveResponse]]
"""Requests a resource: yields pending responses, then the final one."""


class RetrieveFailed(Invalid):
    """The modality did not send everything; the message says what, and why."""


class RetrieveIncomplete(Unavailable):
    """The modality, or the destination that it was to send to, cannot do it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveContext:
    """What the jobs work with. `aet` is our own AE title."""

    index: Index
    remote_of: RemoteOf
    config: RequestorConfig
    aet: str

    def remote(self, params: RetrieveParams, modality: Modality) -> Remote:
        """Return whom to call: the modality, with what the parameters say otherwise."""
        known = self.remote_of(modality, params.local_aet or modality.local_aet or self.aet)
        return replace(known, timeout=params.timeout or known.timeout)


@dataclass(slots=True)
class RetrieveRun:
    """A run of such a job. The checkpoint says what each resource has come to, None for those still to be requested."""

    run: JobRun
    params: RetrieveParams
    details: list[dict[str, Any] | None] = field(default_factory=list)
    counts: RetrieveResponse = field(default_factory=lambda: RetrieveResponse(Status.PENDING))

    async def retrieve_all(self, request: RequestResource) -> None:
        """Request what is left. Raises `RetrieveFailed` unless `permissive`, and `RetrieveIncomplete`."""
        known = list(self.run.job.checkpoint.get("details", []))
        self.details = known + [None] * (len(self.params.resources) - len(known))
        for number, keys in enumerate(self.params.resources):
            if self.details[number] is None:
                self.details[number] = await self._retrieve(keys, request)
                self.counts = RetrieveResponse(Status.PENDING)
                await self._save()
        failed = [each for each in self.details if each and each["DimseErrorStatus"]]
        if failed and not self.params.permissive:
            # When the job is resubmitted, these are tried again.
            await self._save([None if each in failed else each for each in self.details])
            raise RetrieveFailed(
                f"{len(failed)} of {len(self.details)} resources were not retrieved: {failed[0]['ErrorDetails']}"
            )

    async def _retrieve(self, keys: Mapping[str, str], request: RequestResource) -> dict[str, Any]:
        final = RetrieveResponse(Status.UNABLE_TO_PROCESS, comment="no final response")
        async for response in with_checkpoints(request(keys), self._save):
            self.counts = final = response
        return _detail(keys, final)

    async def _save(self, checkpoint: list[dict[str, Any] | None] | None = None) -> None:
        counts, over = self.counts, [each for each in self.details if each is not None]
        total = counts.remaining + counts.completed + counts.failed + counts.warning
        part = (total - counts.remaining) / total if total else 0.0
        progress = int(100 * (len(over) + part) / len(self.details))
        await self.run.save(
            progress=min(100, progress),
            content={**self.run.job.content, "Details": over},
            checkpoint={"details": checkpoint or self.details},
        )


def _detail(keys: Mapping[str, str], final: RetrieveResponse) -> dict[str, Any]:
    """Return what is shown of a resource, Orthanc's fields and more; raises `RetrieveIncomplete`."""
    problem = ""
    if final.status.is_failure or final.status is Status.CANCEL or final.failed:
        uids = f" ({final.failed_uids[0]} among them)" if final.failed_uids else ""
        problem = f"{dict(keys)}: status {final.status.words}, {final.completed + final.warning} instances sent, "
        problem += f"{final.failed} failed{uids}" + (f": {final.comment}" if final.comment else "")
    if problem and final.status >> 8 == Status.OUT_OF_RESOURCES >> 8:
        raise RetrieveIncomplete(problem)
    return {
        "Query": dict(keys),
        "DimseErrorStatus": (int(final.status) or int(Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES)) if problem else 0,
        "CompletedCount": final.completed + final.warning,
        "FailedCount": final.failed,
        **({"ErrorDetails": problem} if problem else {}),
    }


def identifier(params: RetrieveParams, keys: Mapping[str, str], transfer_syntax: str) -> bytes:
    """Return the Identifier of a request (PS3.4 C.4.2.1.4, C.4.3.1.3)."""
    texts = {tag_of(name): text for name, text in keys.items()} | {tag_of("QueryRetrieveLevel"): params.level}
    elements = {tag: {"vr": vr_of_tag(tag), "Value": json_values(vr_of_tag(tag), texts[tag])} for tag in sorted(texts)}
    return DatasetEncoder(transfer_syntax, _LATIN).encode(elements)


def propose(sop_classes: Iterable[str]) -> list[RequestedContext]:
    """Propose the SOP classes of information models, the best first."""
    return [RequestedContext(abstract_syntax=uid, transfer_syntaxes=SYNTAXES) for uid in sop_classes]


def context_of(association: RequestedAssociation, proposed: list[RequestedContext], what: str) -> PresentationContext:
    """Return the context of the best model that was accepted; raises `NotAccepted`."""
    for each in proposed:
        if (context := association.context_for(each.abstract_syntax)) is not None:
            return context
    raise NotAccepted(f"the modality does not accept {what}")
