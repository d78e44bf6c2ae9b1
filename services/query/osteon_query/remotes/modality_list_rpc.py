"""Replies to `ingress` which modalities are configured."""

import hashlib

from osteon.contracts.remote import KnownModality, ModalitiesAsked, ModalitiesTold
from osteon.remotes.port import Remotes


async def list_modalities(message: ModalitiesAsked, remotes: Remotes) -> ModalitiesTold:
    """Answer with all modalities, or with their version only when it is the one that was seen."""
    known = [
        KnownModality(aet=modality.aet, host=modality.host, permissions=tuple(sorted(modality.permissions)))
        for modality in await remotes.modalities()
    ]
    version = hashlib.sha256("\n".join(one.model_dump_json() for one in known).encode()).hexdigest()
    modalities = [] if version == message.seen else known
    return ModalitiesTold(correlation_id=message.correlation_id, version=version, modalities=modalities)
