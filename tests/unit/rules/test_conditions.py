"""Conditions of rules: what they accept, what holds, and what they say decided."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.rules.conditions import Candidate, condition_from
from osteon.rules.errors import BadRule
from osteon.rules.patterns import BadPattern, compile_regex, compile_wildcard

HEADER: dict[str, Any] = {
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "山田"}]},
    "00180050": {"vr": "DS", "Value": [1.25]},
    "00280010": {"vr": "US", "Value": [512]},
    "00180015": {"vr": "CS"},
    "00090010": {"vr": "LO", "Value": ["MAKER 1"]},
    "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}, {"00400009": {"vr": "SH"}}]},
}
CT = Candidate(HEADER, {"CallingAET": "CT1", "Origin": "dimse", "TransferSyntaxUID": "1.2.840.10008.1.2.1"})

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def holds(condition: Any) -> bool:
    return condition_from(condition).judge(CT).holds


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, True),
        ({"Modality": "CT"}, True),
        ({"Modality": "ct"}, False),
        ({"0008,0060": "CT"}, True),
        ({"00080060": ["MR", "CT"]}, True),
        ({"Modality": ["MR", "PT"]}, False),
        ({"ImageType": "PRIMARY"}, True),
        ({"ImageType": {"equals": "SECONDARY"}}, False),
        ({"PatientName": "Doe^Jane"}, True),
        ({"PatientName": {"wildcard": "山*"}}, True),
        ({"PatientName": {"wildcard": "Doe^?ane"}}, True),
        ({"PatientName": {"wildcard": "Doe"}}, False),
        ({"PatientName": {"regex": "[A-Z]oe.*"}}, True),
        ({"PatientName": {"regex": "oe"}}, False),
        ({"SliceThickness": {"<": 1.5}}, True),
        ({"SliceThickness": {">=": 1.25, "<=": 1.25}}, True),
        ({"SliceThickness": {">": 1.25}}, False),
        ({"SliceThickness": 1.25}, True),
        ({"Rows": 512}, True),
        ({"Rows": "512"}, True),
        ({"Modality": {"<": 3}}, False),
        ({"BodyPartExamined": {"exists": False}}, True),
        ({"Modality": {"exists": True}}, True),
        ({"00090010": "MAKER 1"}, True),
        ({"RequestAttributesSequence.ScheduledProcedureStepID": "S1"}, True),
        ({"RequestAttributesSequence": {"exists": True}}, True),
        ({"CallingAET": {"wildcard": "CT*"}, "Origin": "dimse"}, True),
        ({"RemoteHost": {"exists": True}}, False),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.1"}, True),
        ({"any": [{"Modality": "MR"}, {"Rows": 512}]}, True),
        ({"all": [{"Modality": "CT"}, {"Rows": 256}]}, False),
        ({"not": {"Modality": "MR"}}, True),
        ({"Modality": "CT", "not": {"any": [{"Rows": 1}, {"not": {"Rows": 512}}]}}, True),
    ],
    ids=str,
)
def test_a_condition_holds_for_what_it_says(condition, expected):
    assert holds(condition) is expected


@pytest.mark.parametrize(
    ("condition", "where", "problem"),
    [
        ([], "match", "expected attributes"),
        ({"Modallity": "CT"}, "match.Modallity", "not a DICOM attribute"),
        ({"all": [{"Modality": "CT"}, {"Rows": {"=": 1}}]}, r"match.all\[1\].Rows.=", "no such test"),
        ({"any": {}}, "match.any", "expected a list"),
        ({"Rows": {"<": "x"}}, "match.Rows.<", "expected a number"),
        ({"Rows": {"<": True}}, "match.Rows.<", "expected a number"),
        ({"Modality": {"exists": 1}}, "match.Modality.exists", "expected true or false"),
        ({"Modality": True}, "match.Modality", "expected text or a number"),
        ({"Modality": []}, "match.Modality", "list of values"),
        ({"Modality": {"regex": "("}}, "match.Modality.regex", "not a regular expression"),
        ({"Modality": {"regex": r"(a)\1"}}, "match.Modality.regex", "not a regular expression"),
        ({"Modality": {}}, "match.Modality", "expected a value"),
        ({"not": 3}, "match.not", "expected attributes"),
    ],
    ids=str,
)
def test_a_condition_that_cannot_be_used_is_refused_with_its_key(condition, where, problem):
    with pytest.raises(BadRule, match=f"^{where}: .*{problem}"):
        condition_from(condition)


def test_conditions_nested_too_deeply_or_too_many_are_refused():
    deep: Any = {"Modality": "CT"}
    for _ in range(20):
        deep = {"not": deep}
    with pytest.raises(BadRule, match="nested"):
        condition_from(deep)
    with pytest.raises(BadRule, match="more than 200 tests"):
        condition_from({"any": [{"Modality": str(i)} for i in range(201)]})


def test_what_decided_is_told():
    condition = condition_from({"all": [{"Modality": "CT"}, {"any": [{"Rows": 1}, {"SliceThickness": {"<": 1}}]}]})
    holds_, because = condition.judge(CT)
    assert not holds_
    assert because == (
        "Rows (0028,0010) is '512', not as wanted: equals 1; SliceThickness (0018,0050) is '1.25', not as wanted: < 1"
    )


@given(json)
def test_whatever_is_given_as_a_condition_is_read_or_refused_by_name(body):
    try:
        condition_from(body).judge(CT)
    except BadRule as error:
        assert str(error)


@given(st.dictionaries(st.sampled_from(sorted(HEADER)), json, max_size=8), st.sampled_from(list(range(4))))
def test_no_header_makes_a_condition_fail(header, which):
    tests = [{"<": 1}, {"wildcard": "*A*B*"}, {"regex": "a+"}, ["A", 1]]
    names = ("Modality", "ImageType", "PatientName", "SliceThickness", "Rows")
    names += ("RequestAttributesSequence.ScheduledProcedureStepID", "RequestAttributesSequence")
    condition = condition_from({"any": [{name: tests[which]} for name in names]})
    assert isinstance(condition.judge(Candidate(header, {})).holds, bool)


@given(st.text("ab*?", max_size=12), st.text("abc\n", max_size=12))
def test_wildcards_match_as_the_plain_algorithm_does(pattern, text):
    assert (compile_wildcard(pattern).fullmatch(text) is not None) is plain(pattern, text)


def plain(pattern: str, text: str) -> bool:
    """Match `*` and `?` by the book."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(plain(pattern[1:].lstrip("*"), text[i:]) for i in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and plain(pattern[1:], text[1:])


@pytest.mark.parametrize(
    "pattern", ["(a+", "a{5000}", "((a{100}){100}){100}", r"(a)\1", "(?=a)b", "(?<!a)b", "x" * 600, "\udc80"]
)
def test_what_could_not_be_matched_in_linear_time_is_refused(pattern):
    with pytest.raises(BadPattern):
        compile_regex(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+", "((a+))+", "(a|ab)*c", "(a*b?){2,}", "a*b*c*d*", "(?:a|b){99}"])
def test_an_expression_that_lets_a_backtracking_matcher_try_for_ever_is_matched_at_once(pattern):
    began = time.monotonic()
    assert compile_regex(pattern).fullmatch("a" * 50_000 + "!") is None
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("pattern", ["CT.*", "(CHEST|THORAX)", r"[+*(]+\(a\)+", "(ab)?c{2,4}", "(abc)+", "a*b+c{3,}"])
def test_a_usual_regular_expression_is_taken(pattern):
    compile_regex(pattern)


def test_patterns_that_are_taken_end_soon_on_hostile_values():
    hostile = "a" * 20_000 + "!"
    for pattern in ("a*a*a*b", "(abc)+", "[^b]*[^c]*x"):
        assert not compile_regex(pattern).fullmatch(hostile)
    assert not compile_wildcard("*a" * 250 + "b").fullmatch("a" * 20_000)
