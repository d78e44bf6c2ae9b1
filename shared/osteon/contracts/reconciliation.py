"""Corrections of patients and studies: an overlay of attributes over the instances of a study, and what asks for it.

A reconciliation is an object beside the packs first, and a row then, as decisions on conflicts are.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import Field

from osteon.contracts.base import Message

PREFIX: Final = "reconciliations/"
"""Where reconciliations are in the object store."""


class Reconciliation(Message):
    """Attributes that take the place of those that came with a study, until it is undone."""

    reconciliation_id: str = Field(description="Like a pack's id: of several, the last one takes precedence.")
    study_uid: str
    sources: tuple[str, ...] = Field(
        description="Orthanc identifiers of the study as its instances name it; others with its UID are left alone."
    )
    replace: dict[str, str] = Field(description="Keyword → DICOM text; empty: the attribute has no value.")
    before: dict[str, str] = Field(default_factory=dict, description="The values that were served until then.")
    requester: str = Field(default="", description="Who asked for it.")
    reason: str = ""
    created_at: datetime
    undone_at: datetime | None = None
    undone_requester: str = ""

    @property
    def active(self) -> bool:
        """Whether it holds: it is not undone."""
        return self.undone_at is None

    @property
    def key(self) -> str:
        """The object key of the reconciliation."""
        return f"{PREFIX}{self.study_uid}/{self.reconciliation_id}.json"


class CorrectionEvent(StrEnum):
    """What happened to a patient in the hospital's system, as the HL7 messages ADT^A08 and ADT^A40 say it."""

    PATIENT_UPDATED = "PatientUpdated"
    PATIENTS_MERGED = "PatientsMerged"


class PatientCorrected(Message):
    """A patient has other attributes, or is the same person as another: all studies are reconciled."""

    event: CorrectionEvent
    patient_id: str = Field(min_length=1, max_length=64, description="The patient who remains.")
    prior_patient_id: str = Field(default="", max_length=64, description="Of a merge: who becomes that patient.")
    replace: dict[str, str] = Field(default_factory=dict, description="Keyword → DICOM text.")
    requester: str = ""
    reason: str = ""
