"""C-FIND over the bus: `ingress` asks, `query` answers one page at a time (PS3.4 C.4.1)."""

from pydantic import Field

from osteon.contracts.base import Message


class FindRequested(Message):
    """One page of a C-FIND. Repeating the request with the `cursor` of the last answer gives the next page."""

    sop_class_uid: str = Field(description="Affected SOP Class UID: Patient Root, Study Root, ...")
    transfer_syntax_uid: str = Field(description="Of the presentation context, for the identifier and for the answers.")
    identifier: bytes = Field(description="The encoded Identifier data set of the C-FIND-RQ.")
    calling_aet: str
    called_aet: str
    relational: bool = Field(default=False, description="Extended negotiation: relational queries (PS3.4 C.5.1.1).")
    combined_datetime: bool = Field(default=False, description="Extended negotiation: combined date-time matching.")
    fuzzy: bool = Field(default=False, description="Extended negotiation: fuzzy semantic matching of person names.")
    timezone: bool = Field(default=False, description="Extended negotiation: timezone query adjustment.")
    cursor: str | None = None


class FindPage(Message):
    """A page of matches. `status` is that of the final response and counts only when `cursor` is None."""

    identifiers: list[bytes] = Field(default_factory=list, description="One encoded data set a match.")
    pending_status: int = Field(default=0xFF00, description="0xFF00, or 0xFF01 when optional keys were not matched.")
    status: int = Field(default=0x0000, description="PS3.4 Table C.4-1: 0x0000, 0xA700, 0xA900, 0xCxxx.")
    error_comment: str = Field(default="", description="For (0000,0902), at most 64 characters.")
    cursor: str | None = None
