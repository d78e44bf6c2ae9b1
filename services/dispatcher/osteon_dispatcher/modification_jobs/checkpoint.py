"""How far a job is that makes new instances."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from osteon.dicom.identity import Identity
from osteon.dicom.models import Level
from osteon_dispatcher.store_jobs.resources import InstancePosition

LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES)
_NAMED: Final = 100
"""Instances that failed and are named, and new instances that are listed."""


def identifiers(identity: Identity) -> dict[Level, str]:
    """Return the public identifiers of an instance and of what it belongs to."""
    return {
        Level.PATIENT: identity.public_patient,
        Level.STUDY: identity.public_study,
        Level.SERIES: identity.public_series,
        Level.IMAGE: identity.public_instance,
    }


@dataclass(slots=True)
class ModificationCheckpoint:
    """What another worker needs to go on.

    Attributes:
        total: instances of the job's resources, None before they are counted.
        last_pack: the newest pack that they are in; what comes later is not the job's.
        position: of the last instance whose copy is indexed.
        done: instances that were looked at.
        sources: level → new public identifier → the one that it was made from.
        target: the new Study Instance UID.
        first: public identifiers of the first new instance and of what it belongs to, by level.
        instances: the first new instances.
        failures: the first instances that failed, and why; `failed` counts all.
        report: attribute → what anonymization did with it.
    """

    total: int | None = None
    last_pack: str = ""
    position: InstancePosition | None = None
    done: int = 0
    failed: int = 0
    sources: dict[str, dict[str, str]] = field(default_factory=lambda: {level.value: {} for level in LEVELS})
    target: str = ""
    first: dict[str, str] = field(default_factory=dict)
    instances: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    report: dict[str, str] = field(default_factory=dict)
    logged: bool = False

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ModificationCheckpoint":
        """Read what `to_json` wrote."""
        position = stored.get("position")
        return cls(**{**stored, "position": position and InstancePosition(*position)})

    def to_json(self) -> dict[str, Any]:
        """Return what the job keeps."""
        at = self.position
        return {**asdict(self), "position": at and [at.resource, at.key, at.offset]}

    @property
    def percent(self) -> int:
        """Progress from 0 to 100."""
        return min(100, 100 * self.done // self.total) if self.total else 0

    def note_made(self, old: Identity, new: Identity) -> None:
        """Note that an instance was made."""
        before, after = identifiers(old), identifiers(new)
        for level in LEVELS:
            self.sources[level.value].setdefault(after[level], before[level])
        if not self.first:
            self.first = {level.value: public_id for level, public_id in after.items()}
            self.target = new.study_uid
        if len(self.instances) < _NAMED:
            self.instances.append(after[Level.IMAGE])

    def note_failed(self, sop_uid: str, reason: str) -> None:
        """Note that an instance could not be made."""
        self.failed += 1
        if len(self.failures) < _NAMED:
            self.failures[sop_uid] = reason
