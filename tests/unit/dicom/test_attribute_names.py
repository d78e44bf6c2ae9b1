"""How requests spell attributes."""

import pytest

from osteon.dicom.attribute_names import (
    UnknownAttribute,
    attribute_path,
    describe,
    keyword_of,
    tag_of,
    vr_of_tag,
)


@pytest.mark.parametrize("name", ["PatientID", "00100020", "0010,0020", "0010-0020", "(0010,0020)"])
def test_every_spelling_of_an_attribute_gives_its_tag(name):
    assert tag_of(name) == "00100020"


@pytest.mark.parametrize(
    "name", ["", "patientid", "PatientIdentity", "0010002", "001000200", "0010/0020", "(0010,0020", "x" * 600]
)
def test_what_is_no_attribute_is_refused_with_what_was_given(name):
    with pytest.raises(UnknownAttribute):
        attribute_path(name)


def test_a_dotted_path_leads_through_sequences_in_either_spelling():
    path = ("RequestAttributesSequence", "ScheduledProcedureStepID")
    assert attribute_path("00400275.00400009") == path
    assert attribute_path("RequestAttributesSequence.ScheduledProcedureStepID") == path


def test_a_private_attribute_keeps_its_tag_as_its_name():
    assert attribute_path("0009100a") == ("0009100A",)
    assert keyword_of("0009100A") == ""
    assert vr_of_tag("0009100A") == "UN"


def test_an_attribute_is_described_by_keyword_and_tag():
    assert describe(("RequestAttributesSequence", "0009100A")) == ("RequestAttributesSequence (0040,0275).(0009,100A)")
