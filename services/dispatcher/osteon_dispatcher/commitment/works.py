"""The kinds of jobs of storage commitment, put together from the ports."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from osteon.commitment.port import SCP_JOB, SCU_JOB
from osteon.dimse.config import Remote
from osteon.errors import Invalid
from osteon.index.port import Index
from osteon.jobs.run import Run
from osteon.objects.port import Objects
from osteon.remotes.port import Modality
from osteon.settings import CommitmentSettings
from osteon_dispatcher.commitment.scp import Provider, RemoteOf, provide
from osteon_dispatcher.commitment.scu import User, request


def works(
    index: Index, objects: Objects, settings: CommitmentSettings, remote_of: RemoteOf
) -> Mapping[str, Callable[[Run], Awaitable[None]]]:
    """Return what runs for each type of job. Each is worth trying again for `OSTEON_COMMITMENT_DAYS`."""
    provider = Provider(
        index=index,
        objects=objects,
        remote_of=remote_of,
        depth=settings.commitment_check,
        wait=settings.commitment_wait_seconds,
    )
    user = User(index=index, remote_of=remote_of, linger=settings.commitment_linger_seconds)
    return {SCP_JOB: partial(provide, provider=provider), SCU_JOB: partial(request, user=user)}


def patience_of(settings: CommitmentSettings) -> float:
    """Return for how many seconds a remote that does not answer is tried again."""
    return settings.commitment_days * 86_400


def remote_of(modality: Modality, aet: str, *, tls: Callable[[], ssl.SSLContext] | None = None) -> Remote:
    """Return how to reach a modality as `aet`; raises `Invalid` when it wants TLS and there is none."""
    if modality.tls and tls is None:
        raise Invalid(f"modality {modality.name!r} wants TLS, which is not set up here")
    return Remote(
        aet=modality.aet,
        host=modality.host,
        port=modality.port,
        calling_aet=aet,
        tls=tls() if modality.tls and tls else None,
        timeout=modality.timeout,
    )
