"""`DicomMoveScu`: asks a modality to send resources to an application entity, by C-MOVE (PS3.4 C.4.2)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from osteon.dicom.models import Level, models_for
from osteon.dimse.handler import RetrieveResponse
from osteon.dimse.requestor import associate
from osteon.jobs.run import Run
from osteon.remotes.orders import RetrieveByMove
from osteon_dispatcher.retrieving.asking import Retrieval, Sources, context_of, identifier, propose


async def move(run: Run, *, sources: Sources) -> None:
    """Ask for one resource after the other on one association."""
    order = RetrieveByMove.model_validate(run.job.params)
    modality = await sources.index.remotes.modality(order.modality)
    proposed = propose(model.move for model in models_for(Level(order.level)))
    target = order.target_aet or sources.aet
    async with associate(sources.remote(order, modality), proposed, config=sources.config) as association:
        context = context_of(association, proposed, "C-MOVE")

        async def ask(keys: Mapping[str, str]) -> AsyncGenerator[RetrieveResponse]:
            wanted = identifier(order, keys, context.transfer_syntax)
            async with aclosing(association.move(context, wanted, target)) as responses:
                async for response in responses:
                    yield response

        await Retrieval(run, order).all(ask)
