"""Parameters of jobs with remote application entities and peers: the `params` of `osteon.jobs.port.Job`, by type.

They name a modality or peer and not its address, so that a job follows a corrected address.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class JobParams(BaseModel):
    """Parameters of a job; `TYPE` is the job's type."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]

    def params(self) -> dict[str, Any]:
        """Return what `Jobs.submit` takes; `model_validate` reads it again."""
        return self.model_dump(mode="json")


class ModalityStoreParams(JobParams):
    """Send instances to a modality by C-STORE. What is empty or 0 comes from the modality, or the settings."""

    TYPE: ClassVar[str] = "DicomModalityStore"

    modality: str = Field(description="Its name.")
    resources: tuple[str, ...] = Field(description="Public identifiers of any level, in the order of sending.")
    local_aet: str = ""
    called_aet: str = ""
    host: str = ""
    port: int = 0
    timeout: int = 0
    move_originator_aet: str = ""
    move_originator_id: int = 0
    storage_commitment: bool = False
    permissive: bool = Field(default=False, description="Instances that fail do not let the job fail.")


class StraightStoreParams(JobParams):
    """Send one Part 10 file, which is not stored here, to a modality by C-STORE."""

    TYPE: ClassVar[str] = "DicomStoreStraight"

    modality: str = Field(description="Its name.")
    key: str = Field(description="Of the object that is the file; may be deleted once it was sent.")
    length: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class PeerStoreParams(JobParams):
    """Send instances to a peer by HTTP."""

    TYPE: ClassVar[str] = "OrthancPeerStore"

    peer: str = Field(description="Its name.")
    resources: tuple[str, ...] = Field(description="Public identifiers of any level, in the order of sending.")
    headers: dict[str, str] = Field(default_factory=dict, description="Beside those of the peer.")
    compress: bool = False
    transcode: str = Field(default="", description="Transfer Syntax UID; empty: as stored.")
    permissive: bool = False


class WadoRetrieveParams(JobParams):
    """Retrieve studies, series and instances from a DICOMweb server, and store them."""

    TYPE: ClassVar[str] = "DicomWebWadoRetrieveClient"

    peer: str = Field(description="Its name.")
    resources: tuple[tuple[str, ...], ...] = Field(description="UIDs of a study, of a series of it, of an instance.")
    parameters: tuple[tuple[str, str], ...] = ()
    headers: dict[str, str] = Field(default_factory=dict)


class RetrieveParams(JobParams):
    """Retrieve resources from a modality, one request for each."""

    modality: str = Field(description="Its name.")
    level: Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
    resources: tuple[dict[str, str], ...] = Field(description="Keyword → value of the unique keys (PS3.4 C.6).")
    local_aet: str = ""
    timeout: int = 0
    permissive: bool = False


class RetrieveByMoveParams(RetrieveParams):
    """Request by C-MOVE that a modality sends resources to `target_aet`; empty: to this archive."""

    TYPE: ClassVar[str] = "DicomMoveScu"

    target_aet: str = ""


class RetrieveByGetParams(RetrieveParams):
    """Retrieve resources from a modality by C-GET."""

    TYPE: ClassVar[str] = "DicomGetScu"
