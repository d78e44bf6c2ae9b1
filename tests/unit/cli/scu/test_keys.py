"""What the words of a command line ask for."""

import pytest

from osteon.cli.scu.find import WANTED, by_keyword, text_of
from osteon.cli.scu.keys import Root, parse_request, require_unique_key
from osteon.cli.scu.options import address
from osteon.dicom.models import Level
from osteon.errors import Invalid
from support.dicom.elements import read
from support.dimse.raw_peer import EXPLICIT, IMPLICIT


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["host:104"], ("host", 104, [])),
        (["host", "104"], ("host", 104, [])),
        (["[::1]:104", "a"], ("::1", 104, ["a"])),
        (["10.0.0.1", "104", "105"], ("10.0.0.1", 104, ["105"])),
        (["host:104", "106"], ("host", 104, ["106"])),
    ],
    ids=["colon", "two words", "IPv6", "a file that is a number", "the same behind a colon"],
)
def test_an_address_is_one_word_or_two(words: list[str], expected: tuple[str, int, list[str]]) -> None:
    assert address(words) == expected


@pytest.mark.parametrize("words", [["host"], ["host", "x"], [":104"], ["host:0"], ["host:70000"], ["host:x"]], ids=str)
def test_what_is_no_address_is_refused(words: list[str]) -> None:
    with pytest.raises(Invalid, match="expected"):
        address(words)


def test_keys_are_keywords_tags_and_paths_into_sequences() -> None:
    keys = ["PatientName=Müller*", "0008,0060=CT", "RequestAttributesSequence.ScheduledProcedureStepID=7", "StudyDate"]
    request = parse_request(Level.SERIES, None, keys, WANTED)
    found, _ = read(request.identifier(EXPLICIT))
    assert found["00080052"]["Value"] == ["SERIES"]
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller*"}]
    assert found["00080060"]["Value"] == ["CT"]
    assert found["00400275"]["Value"][0]["00400009"]["Value"] == ["7"]
    assert "Value" not in found["00080020"]
    assert list(found) == sorted(found)
    assert read(request.identifier(IMPLICIT), IMPLICIT)[0] == found
    assert request.names[2] == "RequestAttributesSequence.ScheduledProcedureStepID"


def test_without_a_key_to_show_the_usual_ones_are_asked_for() -> None:
    request = parse_request(None, None, ["PatientID=1"], WANTED)
    assert (request.level, request.root) == (Level.PATIENT, Root.PATIENT)
    assert request.names == ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
    assert parse_request(None, None, ["PatientID=1", "PatientName"], WANTED).names == ("PatientID", "PatientName")


@pytest.mark.parametrize(
    ("keys", "level"),
    [
        ([], Level.STUDY),
        (["PatientID=1", "StudyInstanceUID=1.2"], Level.STUDY),
        (["SeriesInstanceUID=1.2", "StudyInstanceUID=1"], Level.SERIES),
        (["SOPInstanceUID=1.2", "StudyInstanceUID=1"], Level.IMAGE),
        (["PatientID", "StudyInstanceUID=1"], Level.STUDY),
    ],
    ids=["none", "study", "series", "instance", "no value"],
)
def test_the_level_is_that_of_the_deepest_unique_key(keys: list[str], level: Level) -> None:
    assert parse_request(None, None, keys, {}).level is level


def test_a_root_and_a_level_choose_the_information_model() -> None:
    study = parse_request(Level.STUDY, None, [], {})
    patient = parse_request(Level.STUDY, Root.PATIENT, [], {})
    assert [uid[-3:] for uid in (study.model.find, study.model.move, study.model.get)] == ["2.1", "2.2", "2.3"]
    assert patient.model.find == "1.2.840.10008.5.1.4.1.2.1.1"


@pytest.mark.parametrize(
    ("keys", "message"),
    [(["NoSuchThing=1"], "NoSuchThing"), (["QueryRetrieveLevel=STUDY"], "--level"), (["Rows=5"], "VR US")],
    ids=["unknown", "level", "number"],
)
def test_a_key_that_cannot_be_asked_for_is_named(keys: list[str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_request(None, None, keys, {})


def test_a_retrieval_needs_the_unique_key_of_its_level() -> None:
    with pytest.raises(Invalid, match="-k StudyInstanceUID"):
        require_unique_key(parse_request(None, None, ["PatientName=A"], {}))
    with pytest.raises(Invalid, match="root patient"):
        parse_request(Level.PATIENT, Root.STUDY, [], {})


def test_a_match_is_shown_as_text() -> None:
    match = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "C"}]},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["1"]}}, {"00400009": {"vr": "SH"}}]},
        "00091001": {"vr": "LO", "Value": ["private"]},
    }
    assert text_of(match, "ModalitiesInStudy") == "CT\\SR"
    assert text_of(match, "RequestAttributesSequence.ScheduledProcedureStepID") == "1\\"
    assert text_of(match, "RequestAttributesSequence") == "2 items"
    assert text_of(match, "StudyDate") == ""
    assert by_keyword(match) == {
        "ModalitiesInStudy": "CT\\SR",
        "PatientName": "A^B=C",
        "RequestAttributesSequence": [{"ScheduledProcedureStepID": "1"}, {"ScheduledProcedureStepID": ""}],
        "00091001": "private",
    }
