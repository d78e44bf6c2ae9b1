"""Storage commitment over the bus (PS3.4 Annex J): `ingress` passes on what comes, `dispatcher` decides and answers."""

from pydantic import Field

from osteon.contracts.base import Message


class CommitmentRequest(Message):
    """An N-ACTION-RQ has come (PS3.4 J.3.2)."""

    transfer_syntax_uid: str = Field(description="Of the presentation context.")
    information: bytes = Field(description="The encoded Action Information.")
    calling_aet: str
    called_aet: str
    remote_host: str


class CommitmentReply(Message):
    """The request is kept as the job of a commitment."""

    id: str


class CommitmentStatusRequest(Message):
    """Is there a report to be sent on the requester's own association? Sent again and again while that is open."""

    id: str
    transfer_syntax_uid: str
    open: bool = Field(default=True, description="False: the association is gone, another one has to be used.")
    delivered: bool = Field(default=False, description="The requester has acknowledged the report.")


class CommitmentStatusReply(Message):
    """The report, when `event_type` is not 0 (PS3.4 J.3.3)."""

    event_type: int = Field(default=0, description="1: all is committed; 2: some instances are not.")
    information: bytes = Field(default=b"", description="The encoded Event Information.")
    done: bool = Field(default=False, description="The report was delivered: nothing is left to wait for.")


class CommitmentReportRequest(Message):
    """An N-EVENT-REPORT-RQ has come: the answer to a request of ours."""

    transfer_syntax_uid: str
    event_type: int
    information: bytes
    calling_aet: str


class CommitmentReportReply(Message):
    """The report was taken."""
