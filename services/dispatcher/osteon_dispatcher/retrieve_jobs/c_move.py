"""`DicomMoveScu`: asks a modality to send resources to an application entity, by C-MOVE (PS3.4 C.4.2)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from osteon.dimse.handler import RetrieveResponse
from osteon.dimse.requestor import associate
from osteon.jobs.run import JobRun
from osteon.remotes.job_params import RetrieveByMoveParams
from osteon_dispatcher.retrieve_jobs.common import RetrieveContext, RetrieveRun, context_of, identifier, models

_PATIENT_ROOT: Final = "1.2.840.10008.5.1.4.1.2.1.2"
_STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.2"


async def move(run: JobRun, *, sources: RetrieveContext) -> None:
    """Ask for one resource after the other on one association."""
    order = RetrieveByMoveParams.model_validate(run.job.params)
    modality = await sources.index.remotes.modality(order.modality)
    proposed = models(order, _PATIENT_ROOT, _STUDY_ROOT)
    target = order.target_aet or sources.aet
    async with associate(sources.remote(order, modality), proposed, config=sources.config) as association:
        context = context_of(association, proposed, "C-MOVE")

        async def ask(keys: Mapping[str, str]) -> AsyncGenerator[RetrieveResponse]:
            wanted = identifier(order, keys, context.transfer_syntax)
            async with aclosing(association.move(context, wanted, target)) as responses:
                async for response in responses:
                    yield response

        await RetrieveRun(run, order).all(ask)
