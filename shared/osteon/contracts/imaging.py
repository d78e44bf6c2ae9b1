"""Transcoding over the bus: whoever must send an instance in another transfer syntax asks `imaging`."""

from pydantic import Field

from osteon.contracts.base import Message


class TranscodeRequested(Message):
    """Encode the Part 10 file at `offset` of the object `key` in the first of `targets` that can be done."""

    key: str
    offset: int
    length: int
    targets: list[str] = Field(description="Transfer syntax UIDs, the best first.")
    lossy: list[str] = Field(default_factory=list, description="Those of `targets` that may lose information.")
    quality: int = Field(default=90, ge=1, le=100, description="Of lossy encoding.")


class Transcoded(Message):
    """Where the new Part 10 file is, or why there is none. Whoever asked deletes the object when it has been read."""

    key: str = Field(default="", description="Object key; empty when it could not be done.")
    length: int = 0
    transfer_syntax_uid: str = ""
    sop_instance_uid: str = Field(default="", description="A new one when the pixel data lost information.")
    error: str = ""
