"""The Query/Retrieve information models against pydicom's dictionary of PS3.6."""

import pytest
from pydicom.uid import UID_dictionary

from osteon.dicom.models import (
    FIND_MODELS,
    GET_MODELS,
    MOVE_MODELS,
    PATIENT_ROOT,
    STUDY_ROOT,
    UNIQUE_KEYS,
    WORKLIST_FIND,
    Level,
    models_for,
    required_keys,
)

PREFIX = "1.2.840.10008.5.1.4.1.2."


@pytest.mark.parametrize(("models", "name"), [(FIND_MODELS, "FIND"), (MOVE_MODELS, "MOVE"), (GET_MODELS, "GET")])
def test_every_model_of_the_standard_has_its_sop_classes(models: dict[str, object], name: str) -> None:
    known = {uid for uid, entry in UID_dictionary.items() if uid.startswith(PREFIX) and f"- {name}" in entry[0]}
    # Composite Instance Retrieve Without Bulk Data has one operation and is not offered.
    assert models.keys() == {uid for uid in known if not uid.startswith(f"{PREFIX}5.")}
    assert UID_dictionary[WORKLIST_FIND][0].startswith("Modality Worklist")


def test_a_level_is_below_those_that_are_nearer_to_the_root() -> None:
    levels = list(Level)
    for number, level in enumerate(levels):
        assert [level.is_below(other) for other in levels] == [number > place for place in range(4)]


def test_an_entity_is_meant_by_its_own_key_and_those_above_it_in_the_study_root() -> None:
    assert [required_keys(level) for level in Level] == [
        ("PatientID",),
        ("StudyInstanceUID",),
        ("StudyInstanceUID", "SeriesInstanceUID"),
        ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    ]
    assert all(required_keys(level)[-1] == UNIQUE_KEYS[level] for level in Level)


def test_patients_are_in_the_patient_root_only_and_all_else_is_looked_for_in_the_study_root_first() -> None:
    assert models_for(Level.PATIENT) == (PATIENT_ROOT,)
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        assert models_for(level) == (STUDY_ROOT, PATIENT_ROOT)
        assert all(level in model.levels for model in models_for(level))
