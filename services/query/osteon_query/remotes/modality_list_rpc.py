"""Replies to `ingress` which modalities are configured."""

import hashlib

from osteon.contracts.remote import KnownModality, ListModalitiesReply, ListModalitiesRequest
from osteon.remotes.port import Remotes


async def list_modalities(message: ListModalitiesRequest, remotes: Remotes) -> ListModalitiesReply:
    """Return all modalities, or their version only when the requester has it already."""
    known = [
        KnownModality(aet=modality.aet, host=modality.host, permissions=tuple(sorted(modality.permissions)))
        for modality in await remotes.modalities()
    ]
    version = hashlib.sha256("\n".join(one.model_dump_json() for one in known).encode()).hexdigest()
    modalities = [] if version == message.known_version else known
    return ListModalitiesReply(correlation_id=message.correlation_id, version=version, modalities=modalities)
