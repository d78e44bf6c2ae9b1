"""C-MOVE and C-GET over the bus (PS3.4 C.4.2, C.4.3): `ingress` asks, `dispatcher` plans and moves.

A C-MOVE is a job: `StartMoveRequest` begins it, and its dispatcher publishes `MoveProgressed` until it is over, to the
`ingress` that began it. An event may be lost, and a dispatcher die: `MoveProgressRequest` asks now and then for the row
of the job, and stops it. For a C-GET the dispatcher only plans; `ingress` sends on the requester's own association.
"""

from pydantic import Field

from osteon.contracts.base import Message


class RetrieveRequestBase(Message):
    """What C-MOVE and C-GET have in common."""

    sop_class_uid: str = Field(description="Affected SOP Class UID.")
    transfer_syntax_uid: str = Field(description="Of the presentation context, for the identifier.")
    identifier: bytes = Field(description="The encoded Identifier data set.")


class StartMoveRequest(RetrieveRequestBase):
    """Begin a C-MOVE."""

    calling_aet: str
    called_aet: str
    destination: str = Field(description="Move Destination (0000,0600), an AE title.")
    message_id: int = Field(description="Of the C-MOVE-RQ: Move Originator Message ID of the C-STOREs.")
    progress_address: str = Field(default="", description="Of the `MoveProgressed` events; empty: none are sent.")


class StartMoveReply(Message):
    """The job has begun; without instances to be sent there is none, and `job_id` is empty."""

    job_id: str = ""
    total: int = Field(default=0, description="Instances to be sent.")


class MoveProgressRequest(Message):
    """How far is a C-MOVE?"""

    job_id: str
    cancel: bool = Field(default=False, description="Stop it (C-CANCEL, or its association is gone).")


class MoveCounters(Message):
    """The counters of sub-operations, which are not limited to 65,535."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    done: bool = False
    cancelled: bool = Field(default=False, description="It was `done` before all was sent, as requested.")
    failed_uids: list[str] = Field(default_factory=list, description="SOP Instance UIDs, when `done`.")
    error_comment: str = ""


class MoveProgressReply(MoveCounters):
    """How far a C-MOVE is, as the row of its job says."""


class MoveProgressed(MoveCounters):
    """A C-MOVE got on, or has ended: an event for the `ingress` whose requester waits for it."""

    address: str = Field(description="`<process>.<number of the C-MOVE>`, the `progress_address` of its request.")


class RetrievePlanRequest(RetrieveRequestBase):
    """Which instances does a C-GET mean? Repeating it with the `cursor` of the last answer gives the next page."""

    cursor: str | None = None


class PlannedInstance(Message):
    """An instance to be sent and where its Part 10 file is."""

    correlation_id: str = ""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    key: str
    offset: int
    length: int
    sha256: bytes = Field(default=b"", description="Of the data set, 32 bytes; empty when it is not known.")
    xxh3: bytes = Field(default=b"", description="XXH3-128 of the file, 16 bytes; empty when it is not known.")


class RetrievePlanReply(Message):
    """A page of a plan; without a `cursor` it is the last one."""

    total: int = Field(default=0, description="Instances of all pages; in the first one only.")
    instances: list[PlannedInstance] = Field(default_factory=list)
    cursor: str | None = None
