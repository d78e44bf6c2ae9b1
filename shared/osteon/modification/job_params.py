"""Parameters of the jobs that make new instances from stored ones."""

from typing import ClassVar

from pydantic import Field

from osteon.modification.request import Modification
from osteon.remotes.job_params import JobParams


class ModificationParams(JobParams):
    """Modify resources, or anonymize them."""

    TYPE: ClassVar[str] = "ResourceModification"

    resources: tuple[str, ...] = Field(description="Public identifiers of any level.")
    modification: Modification
    bulk: bool = Field(default=False, description="The job shows all new resources, not the one that it was for.")
    permissive: bool = Field(default=False, description="Instances that fail do not let the job fail.")
    keep_labels: bool = False


class MergeParams(ModificationParams):
    """Put copies of resources into another study."""

    TYPE: ClassVar[str] = "MergeStudy"


class SplitParams(ModificationParams):
    """Put copies of some series and instances of a study into a new one."""

    TYPE: ClassVar[str] = "SplitStudy"
