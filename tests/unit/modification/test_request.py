"""`osteon.modification.request`: Orthanc's rules about what a modification may say."""

from typing import Any

import pytest

from osteon.dicom.models import Level
from osteon.errors import Invalid
from osteon.modification.errors import BadModification, ModificationNotSupported
from osteon.modification.request import Modification, check_keep_source


def parsed(level: Level = Level.STUDY, *, job: bool = True, **body: Any) -> Modification:
    return Modification.from_orthanc(body, level, job=job)


@pytest.mark.parametrize(
    ("level", "body", "named"),
    [
        (Level.STUDY, {"Replace": {"PatientID": "x"}}, "PatientID"),
        (Level.STUDY, {"Keep": ["SOPInstanceUID"]}, "SOPInstanceUID"),
        (Level.STUDY, {"Remove": ["StudyInstanceUID"]}, "StudyInstanceUID"),
        (Level.IMAGE, {"Replace": {"0020,000d": "1.2.3"}}, "StudyInstanceUID"),
        (Level.PATIENT, {"Replace": {"PatientName": "x"}}, "PatientID"),
        (Level.SERIES, {"Replace": {"PatientID": "x"}, "Force": True}, "PatientID"),
        (Level.SERIES, {"Replace": {"StudyInstanceUID": "1.2"}, "Force": True}, "StudyInstanceUID"),
        (Level.STUDY, {"Replace": {"SOPInstanceUID": "1.2"}, "Force": True}, "SOPInstanceUID"),
        (Level.STUDY, {"Remove": ["SeriesInstanceUID"], "Force": True}, "SeriesInstanceUID"),
        (Level.STUDY, {"Remove": ["SOPClassUID"]}, "SOPClassUID"),
        (Level.STUDY, {"Replace": {"StudyInstanceUID": "abc"}, "Force": True}, "StudyInstanceUID"),
        (Level.STUDY, {"Replace": {"Nope": "x"}}, "Nope"),
        (Level.STUDY, {"Replace": {"PatientName": 5}}, "PatientName"),
        (Level.STUDY, {"Replace": {"Rows": "many"}}, "Rows"),
        (Level.STUDY, {"Replace": {"Rows": "70000"}}, "Rows"),
        (Level.STUDY, {"Replace": {"PatientWeight": "heavy"}}, "PatientWeight"),
        (Level.STUDY, {"Replace": {"OtherPatientIDsSequence": "x"}}, "OtherPatientIDsSequence"),
        (Level.STUDY, {"Replace": {"RequestAttributesSequence.StudyInstanceUID": "1"}}, "RequestAttributesSequence"),
        (Level.STUDY, {"Replace": {"SpecificCharacterSet": "ISO_IR 100"}}, "SpecificCharacterSet"),
        (Level.STUDY, {"Replace": {"0002,0010": "1.2"}}, "0002,0010"),
        (Level.STUDY, {"Replace": {"StudyID": "1"}, "Remove": ["StudyID"]}, "StudyID"),
        (Level.STUDY, {"Remove": "StudyID"}, "Remove"),
        (Level.STUDY, {"Replace": []}, "Replace"),
        (Level.STUDY, {"Force": 1}, "Force"),
        (Level.STUDY, {"Transcode": "1.2.3"}, "Transcode"),
        (Level.STUDY, {"LossyQuality": 500}, "LossyQuality"),
    ],
)
def test_what_cannot_be_is_refused_by_name(level: Level, body: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        parsed(level, **body)


def test_force_is_named_as_in_orthanc() -> None:
    with pytest.raises(BadModification, match='Marking tag "PatientID" as to be replaced requires the "Force" option'):
        parsed(Replace={"PatientID": "x"})


@pytest.mark.parametrize(
    ("level", "body"),
    [
        (Level.PATIENT, {"Replace": {"PatientID": "x"}, "Force": True}),
        (Level.STUDY, {"Replace": {"PatientID": "x"}, "Force": True}),
        (Level.STUDY, {"Replace": {"StudyInstanceUID": "1.2"}, "Force": True}),
        (Level.STUDY, {"Keep": ["StudyInstanceUID", "SeriesInstanceUID"], "Force": True}),
        (Level.SERIES, {"Replace": {"SeriesDescription": "n"}}),
        (Level.STUDY, {}),
    ],
)
def test_what_orthanc_takes_is_taken(level: Level, body: dict[str, Any]) -> None:
    made = parsed(level, **body)
    assert Modification.model_validate_json(made.model_dump_json()) == made


def test_nothing_stored_is_replaced_or_deleted() -> None:
    with pytest.raises(ModificationNotSupported, match="SOPInstanceUID"):
        parsed(Keep=["SOPInstanceUID"], Force=True)
    with pytest.raises(ModificationNotSupported, match="KeepSource"):
        check_keep_source({"KeepSource": False}, default=True)
    with pytest.raises(ModificationNotSupported, match="KeepSource"):
        check_keep_source({}, default=False)
    assert parsed(Level.IMAGE, job=False, Keep=["SOPInstanceUID"], Force=True).keep == ("SOPInstanceUID",)
