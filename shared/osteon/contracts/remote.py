"""What `query` asks `dispatcher` to do as a client, and what `ingress` asks `query` about modalities."""

from pydantic import BaseModel, ConfigDict, Field

from osteon.contracts.base import Message


class Target(BaseModel):
    """An application entity to associate with, and under which AE title. `timeout` in seconds; 0: the setting's."""

    model_config = ConfigDict(frozen=True)

    aet: str
    host: str
    port: int
    calling_aet: str
    tls: bool = False
    timeout: int = 0


class RemoteEchoRequest(Message):
    """C-ECHO a modality (PS3.4 A); with `find` also see whether it takes C-FIND."""

    target: Target
    find: bool = False


class RemoteEchoReply(Message):
    """It succeeded."""


class RemoteFindRequest(Message):
    """C-FIND in a modality (PS3.4 C.4.1, K.4.1). The matches are added to the answers of the query `query_id`."""

    target: Target
    sop_class_uid: str
    identifier: bytes = Field(description="The Identifier as DICOM JSON, tags ascending.")
    query_id: str
    limit: int = Field(description="Matches at most; then the search is cancelled.")
    seconds: float = Field(description="For the whole search; the answer comes soon after.")


class RemoteFindReply(Message):
    """The answer to `RemoteFindRequest`."""

    answers: int = 0
    truncated: bool = Field(default=False, description="There were more matches than the limit.")


class PeerSystemRequest(Message):
    """What does a peer say of itself at `/system`?"""

    peer: str = Field(description="Its name.")


class PeerSystemReply(Message):
    """The answer to `PeerSystemRequest`."""

    system: str = Field(description="JSON.")


class PeerUploadRequest(Message):
    """POST a file to a peer's `/instances`."""

    peer: str = Field(description="Its name.")
    key: str = Field(description="Of the object that is the file; the requester deletes it.")
    length: int


class PeerUploadReply(Message):
    """The peer has taken the file."""

    answer: str = Field(description="What it answered: JSON.")


class DicomWebGetRequest(Message):
    """GET something of a DICOMweb server, below its root."""

    peer: str = Field(description="Its name.")
    path: str = Field(description="Begins with a slash; not encoded.")
    parameters: tuple[tuple[str, str], ...] = Field(default=(), description="Of the query string; not encoded.")
    headers: dict[str, str] = Field(default_factory=dict)


class DicomWebGetReply(Message):
    """The answer of the server, whatever its status. Its body is in an object, which the requester deletes."""

    status: int
    content_type: str
    key: str
    length: int


class DicomWebDeleteRequest(Message):
    """DELETE something of a DICOMweb server, below its root."""

    peer: str = Field(description="Its name.")
    path: str = Field(description="Begins with a slash; not encoded.")


class DicomWebDeleteReply(Message):
    """It succeeded."""


class ListModalitiesRequest(Message):
    """Which modalities are there? `seen` is the version of the last answer."""

    known_version: str = ""


class KnownModality(BaseModel):
    """What the DIMSE acceptor needs to know of a modality."""

    model_config = ConfigDict(frozen=True)

    aet: str
    host: str
    permissions: tuple[str, ...]


class ListModalitiesReply(Message):
    """All modalities, or none of them when `version` is the one that was seen."""

    version: str
    modalities: list[KnownModality] = Field(default_factory=list)
