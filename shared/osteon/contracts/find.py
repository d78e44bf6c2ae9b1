"""C-FIND over the bus: `ingress` asks, `query` answers one page at a time (PS3.4 C.4.1), until it is cancelled."""

from pydantic import Field

from osteon.contracts.base import Message


class FindPageRequest(Message):
    """One page of a C-FIND. Repeating the request with the `cursor` of the last answer gives the next page."""

    sop_class_uid: str = Field(description="Affected SOP Class UID: Patient Root, Study Root, ...")
    transfer_syntax_uid: str = Field(description="Of the presentation context, for the identifier and for the answers.")
    identifier: bytes = Field(description="The encoded Identifier data set of the C-FIND-RQ.")
    called_aet: str
    combined_datetime: bool = Field(
        default=False, description="Extended negotiation: combined date-time matching (PS3.4 C.5.1.1)."
    )
    fuzzy: bool = Field(default=False, description="Extended negotiation: fuzzy semantic matching of person names.")
    timezone: bool = Field(default=False, description="Extended negotiation: timezone query adjustment.")
    cursor: str | None = None
    request_id: str = Field(default="", description="What `FindCancelled` names; the same for all pages of a C-FIND.")
    timeout_seconds: float = Field(
        default=30.0, description="For how long the reply is awaited; the search is given up after that."
    )


class FindCancelled(Message):
    """Nobody waits for the pages of a C-FIND any more: C-CANCEL, the end of its association, or a time-out."""

    request_id: str


class FindPageReply(Message):
    """A page of matches; without a `cursor` it is the last one."""

    identifiers: list[bytes] = Field(default_factory=list, description="One encoded data set a match.")
    keys_ignored: bool = Field(default=False, description="Some optional keys were not matched.")
    cursor: str | None = None
