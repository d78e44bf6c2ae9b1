"""Which of two versions of an instance is served: a decision of a person, kept in the object store beside the packs.

The index is made from the packs and these alone, so a decision is an object first and a change of rows then.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import Field

from osteon.contracts.base import Message

PREFIX: Final = "conflicts/"
"""Where decisions are in the object store."""


class Keep(StrEnum):
    """The version to serve, by the order of arrival."""

    FIRST = "first"
    SECOND = "second"


class ConflictDecided(Message):
    """Serve the data set `kept` of a SOP instance, and keep `other` aside. Digests are SHA-256, in hexadecimal."""

    decision_id: str = Field(description="Like a pack's id; of several decisions on one instance the last one holds.")
    sop_instance_uid: str
    kept: str
    other: str
    decided_at: datetime

    @property
    def key(self) -> str:
        """The object key of the decision."""
        return f"{PREFIX}{self.sop_instance_uid}/{self.decision_id}.json"
