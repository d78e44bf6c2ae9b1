"""The Query/Retrieve information models: their SOP classes, levels and unique keys (PS3.4 C.3, C.6 and Annex Y)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052), from the root downwards (PS3.4 C.6.1.1)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @property
    def depth(self) -> int:
        """0 for PATIENT to 3 for IMAGE."""
        return list(Level).index(self)

    def is_below(self, other: "Level") -> bool:
        """Whether this level is nearer to the instances than `other`."""
        return self.depth > other.depth


UNIQUE_KEYS: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
"""Level → keyword of its unique key (PS3.4 C.6.1.1)."""


def required_keys(level: Level) -> tuple[str, ...]:
    """Return the unique keys that say which entity of a level is meant: its own behind those of the levels above.

    They are those of the Study Root model (PS3.4 C.6.2), where Patient ID is not a unique key, and of its own level.
    """
    if level is Level.PATIENT:
        return (UNIQUE_KEYS[level],)
    return tuple(UNIQUE_KEYS[each] for each in Level if each is not Level.PATIENT and not each.is_below(level))


@dataclass(frozen=True, slots=True)
class InformationModel:
    """Levels from the root downwards, and the SOP class UID of each operation; empty where the model has none."""

    levels: tuple[Level, ...]
    find: str
    move: str
    get: str


PATIENT_ROOT: Final = InformationModel(
    (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE),
    find="1.2.840.10008.5.1.4.1.2.1.1",
    move="1.2.840.10008.5.1.4.1.2.1.2",
    get="1.2.840.10008.5.1.4.1.2.1.3",
)
STUDY_ROOT: Final = InformationModel(
    (Level.STUDY, Level.SERIES, Level.IMAGE),
    find="1.2.840.10008.5.1.4.1.2.2.1",
    move="1.2.840.10008.5.1.4.1.2.2.2",
    get="1.2.840.10008.5.1.4.1.2.2.3",
)
PATIENT_STUDY_ONLY: Final = InformationModel(
    (Level.PATIENT, Level.STUDY),
    find="1.2.840.10008.5.1.4.1.2.3.1",
    move="1.2.840.10008.5.1.4.1.2.3.2",
    get="1.2.840.10008.5.1.4.1.2.3.3",
)
"""Retired."""
COMPOSITE_INSTANCE_ROOT: Final = InformationModel(
    (Level.IMAGE,),
    find="",
    move="1.2.840.10008.5.1.4.1.2.4.2",
    get="1.2.840.10008.5.1.4.1.2.4.3",
)
"""Retrieval of instances only (PS3.4 Annex Y)."""
_MODELS: Final = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY, COMPOSITE_INSTANCE_ROOT)

FIND_MODELS: Final = {model.find: model for model in _MODELS if model.find}
MOVE_MODELS: Final = {model.move: model for model in _MODELS}
GET_MODELS: Final = {model.get: model for model in _MODELS}
"""SOP class UID → information model; so are the two above."""

WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
"""FIND of the Modality Worklist information model (PS3.4 K.6), which has no levels."""


def models_for(level: Level) -> tuple[InformationModel, ...]:
    """Return the models in which entities of a level can be requested of a peer, the one that most peers have first."""
    return (PATIENT_ROOT,) if level is Level.PATIENT else (STUDY_ROOT, PATIENT_ROOT)
