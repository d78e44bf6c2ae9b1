"""The parameters of the job that applies reconciliations."""

from typing import ClassVar

from osteon.remotes.job_params import JobParams


class ReconcileParams(JobParams):
    """Bring the instances of a study to what its reconciliations say now."""

    TYPE: ClassVar[str] = "Reconciliation"

    study_uid: str
