"""`DicomMoveScu`: requests that a modality sends resources to an application entity, by C-MOVE (PS3.4 C.4.2)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from osteon.dicom.models import Level, models_for
from osteon.dimse.handler import RetrieveResponse
from osteon.dimse.requestor import associate
from osteon.jobs.run import JobRun
from osteon.remotes.job_params import RetrieveByMoveParams
from osteon_dispatcher.retrieve_jobs.common import RetrieveContext, RetrieveRun, context_of, identifier, propose


async def move(run: JobRun, *, context: RetrieveContext) -> None:
    """Request one resource after the other on one association."""
    params = RetrieveByMoveParams.model_validate(run.job.params)
    modality = await context.index.remotes.modality(params.modality)
    proposed = propose(model.move for model in models_for(Level(params.level)))
    target = params.target_aet or context.aet
    async with associate(context.remote(params, modality), proposed, config=context.config) as association:
        accepted = context_of(association, proposed, "C-MOVE")

        async def move_resource(keys: Mapping[str, str]) -> AsyncGenerator[RetrieveResponse]:
            request = identifier(params, keys, accepted.transfer_syntax)
            async with aclosing(association.move(accepted, request, target)) as responses:
                async for response in responses:
                    yield response

        await RetrieveRun(run, params).retrieve_all(move_resource)
