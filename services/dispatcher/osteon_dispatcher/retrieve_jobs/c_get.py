"""`DicomGetScu`: fetches resources from a modality into this archive, by C-GET (PS3.4 C.4.3).

A C-GET brings only instances for which its association has a context, of which there can be 128. There are more
storage SOP classes than that: when instances are missing, further associations request those of other classes.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import Final

from pynetdicom.sop_class import _STORAGE_CLASSES

from osteon.dicom.models import Level, models_for
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from osteon.dimse.associate_rq_encoder import MOST_CONTEXTS
from osteon.dimse.config import Remote, RequestedContext
from osteon.dimse.handler import RetrieveResponse
from osteon.dimse.requestor import associate
from osteon.dimse.sop_classes import STORAGE_SYNTAXES, UNCOMPRESSED
from osteon.dimse.status import Status
from osteon.jobs.run import JobRun
from osteon.remotes.job_params import RetrieveByGetParams
from osteon_dispatcher.retrieve_jobs.common import (
    RetrieveContext,
    RetrieveIncomplete,
    RetrieveRun,
    context_of,
    identifier,
    propose,
)
from osteon_dispatcher.retrieve_jobs.forwarder import OwnAcceptor, open_forwarder

_MODELS: Final = 2
_COMMON: Final = (
    "CTImageStorage", "MRImageStorage", "EnhancedCTImageStorage", "EnhancedMRImageStorage",
    "ComputedRadiographyImageStorage", "DigitalXRayImageStorageForPresentation",
    "DigitalMammographyXRayImageStorageForPresentation", "UltrasoundImageStorage",
    "UltrasoundMultiFrameImageStorage", "XRayAngiographicImageStorage", "XRayRadiofluoroscopicImageStorage",
    "PositronEmissionTomographyImageStorage", "NuclearMedicineImageStorage", "SecondaryCaptureImageStorage",
    "BasicTextSRStorage", "EnhancedSRStorage", "ComprehensiveSRStorage", "XRayRadiationDoseSRStorage",
    "KeyObjectSelectionDocumentStorage", "GrayscaleSoftcopyPresentationStateStorage", "EncapsulatedPDFStorage",
    "SegmentationStorage", "RTStructureSetStorage", "RTPlanStorage", "RTDoseStorage", "RTImageStorage",
)  # fmt: skip
"""Proposed first."""


async def get(run: JobRun, *, context: RetrieveContext, own_acceptor: OwnAcceptor) -> None:
    """Fetch one resource after the other; one that was fetched is stored."""
    params = RetrieveByGetParams.model_validate(run.job.params)
    modality = await context.index.remotes.modality(params.modality)
    get_run = _GetRun(params, context.remote(params, modality), context, own_acceptor)
    await RetrieveRun(run, params).retrieve_all(get_run.fetch)


class _GetRun:
    """The C-GETs of a run."""

    def __init__(
        self, params: RetrieveByGetParams, remote: Remote, context: RetrieveContext, own_acceptor: OwnAcceptor
    ) -> None:
        self._params = params
        self._remote = remote
        self._context = context
        self._own_acceptor = own_acceptor

    async def fetch(self, keys: Mapping[str, str]) -> AsyncGenerator[RetrieveResponse]:
        """Request a resource with batch after batch of SOP classes, until nothing is missing."""
        completed = warning = total = 0
        last = RetrieveResponse(Status.SUCCESS)
        for number, batch in enumerate(_batches()):
            async with aclosing(self._fetch_batch(batch, keys)) as responses:
                async for last in responses:
                    if number == 0:
                        total = max(total, last.remaining + last.completed + last.failed + last.warning)
                    done, altered = completed + last.completed, warning + last.warning
                    yield RetrieveResponse(
                        Status.PENDING, max(0, total - done - altered), completed=done, warning=altered
                    )
            completed, warning = completed + last.completed, warning + last.warning
            if not last.failed and not _may_lack_contexts(last.status):
                break
        missing = max(0, total - completed - warning)
        # Some peers fail a C-GET of classes that have no context; one that brought all of them has succeeded.
        brought_all = bool(completed + warning) and not missing
        status = Status.SUCCESS if brought_all and _may_lack_contexts(last.status) else last.status
        yield replace(last, status=status, remaining=0, completed=completed, warning=warning, failed=missing)

    async def _fetch_batch(
        self, storage: list[RequestedContext], keys: Mapping[str, str]
    ) -> AsyncGenerator[RetrieveResponse]:
        proposed = propose(model.get for model in models_for(Level(self._params.level)))
        async with associate(self._remote, [*proposed, *storage], config=self._context.config) as association:
            accepted = context_of(association, proposed, "C-GET")
            offered = [each for each in association.contexts if each.scp]
            async with open_forwarder(self._own_acceptor, offered, self._context.config) as forwarder:
                request = identifier(self._params, keys, accepted.transfer_syntax)
                async with aclosing(association.get(accepted, request, forwarder.sink)) as responses:
                    async for response in responses:
                        if forwarder.problem and not response.status.is_pending:
                            raise RetrieveIncomplete(f"{dict(keys)}: this archive did not take it: {forwarder.problem}")
                        yield response


def _may_lack_contexts(status: Status) -> bool:
    """Whether instances may be missing because they have no context."""
    return status == Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES or status.is_failure


@cache
def _batches() -> list[list[RequestedContext]]:
    """Return contexts of all storage SOP classes, in batches that leave room for the models; a class is in one."""
    common = [str(_STORAGE_CLASSES[name]) for name in _COMMON if name in _STORAGE_CLASSES]
    classes = list(dict.fromkeys([*common, *map(str, _STORAGE_CLASSES.values())]))
    plain = tuple(sorted(UNCOMPRESSED, key=lambda uid: (uid != EXPLICIT_VR_LITTLE_ENDIAN, uid)))
    packed = tuple(sorted(filter(_is_used, STORAGE_SYNTAXES), key=_lossless_first))
    size = (MOST_CONTEXTS - _MODELS) // 2
    return [
        [
            RequestedContext(abstract_syntax=uid, transfer_syntaxes=syntaxes, scu=False, scp=True)
            for uid in classes[start : start + size]
            for syntaxes in (packed, plain)
        ]
        for start in range(0, len(classes), size)
    ]


def _is_used(uid: str) -> bool:
    """Whether compressed data sets come in it. DCMTK is silent when a context has more than 50 transfer syntaxes."""
    syntax = TRANSFER_SYNTAXES[uid]
    return syntax.encapsulated and not syntax.retired


def _lossless_first(uid: str) -> tuple[bool, str]:
    return TRANSFER_SYNTAXES[uid].lossy, uid
