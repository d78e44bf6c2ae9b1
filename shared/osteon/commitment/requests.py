"""Transactions of storage commitment and the jobs that carry them out: one begins with the other."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from osteon.commitment.port import SCP_JOB, SCU_JOB, Commitment, CommitmentItem, CommitmentRole, Commitments
from osteon.jobs.port import Job, JobCommand, Jobs, JobState
from osteon.remotes.port import Modality

KEPT: Final = timedelta(days=60)
"""For how long the status of a transaction is known, and its UID is in use."""


async def request_commitment(
    commitments: Commitments,
    jobs: Jobs,
    modality: Modality,
    items: Sequence[CommitmentItem],
    *,
    aet: str,
    timeout: int = 0,
) -> tuple[Commitment, Job]:
    """Request that a modality commits instances; return the transaction, and the job that sends the request.

    Args:
        commitments: of the index.
        jobs: of the index.
        modality: whom the request goes to.
        items: the instances, at least one.
        aet: our AE title, unless the modality has one for us.
        timeout: seconds for each answer, 0: the modality's or the setting's.
    """
    wanted = Commitment(
        id=uuid.uuid4().hex, role=CommitmentRole.SCU, transaction_uid=f"2.25.{uuid.uuid4().int}",
        remote_aet=modality.aet, local_aet=modality.local_aet or aet, remote=modality.name,
        items=tuple(dict.fromkeys(items)), created=datetime.now(UTC),
    )  # fmt: skip
    commitment = await commitments.begin(wanted)
    return commitment, await submit_job(commitments, jobs, commitment, {"timeout": timeout})


async def submit_job(
    commitments: Commitments, jobs: Jobs, commitment: Commitment, more: Mapping[str, Any] | None = None
) -> Job:
    """Make sure that a transaction has its job, and that it runs again if it failed. Forgets what is old."""
    await commitments.prune(datetime.now(UTC) - KEPT)
    kind = SCP_JOB if commitment.role is CommitmentRole.SCP else SCU_JOB
    job = await jobs.submit(
        kind,
        {"commitment": commitment.id, **(more or {})},
        content={
            "CalledAet" if commitment.role is CommitmentRole.SCP else "LocalAet": commitment.local_aet,
            "RemoteAet": commitment.remote_aet,
            "TransactionUid": commitment.transaction_uid,
            "InstancesCount": len(commitment.items),
        },
        key=f"{kind} {commitment.id} {commitment.created.isoformat()}",
    )
    return await jobs.command(job.id, JobCommand.RESUBMIT) if job.state is JobState.FAILURE else job
