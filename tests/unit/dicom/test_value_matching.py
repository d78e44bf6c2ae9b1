"""Comparing outside of the index."""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.dicom.query import Empty, OneOf, Range, Single, Wildcard
from osteon.dicom.value_matching import matches


@pytest.mark.parametrize(
    ("matching", "text", "expected"),
    [
        (Single("A"), "A", True),
        (Single("A"), "a", False),
        (Single("A"), "B\\A", True),
        (Single("A"), "", False),
        (OneOf(("A", "B")), "B", True),
        (OneOf(("A", "B")), "C", False),
        (Wildcard("A*"), "A", True),
        (Wildcard("A?"), "A", False),
        (Wildcard("*B?D*"), "ABCDE", True),
        (Wildcard("A.C"), "ABC", False),
        (Range("20240101", None), "20240101", True),
        (Range("20240102", None), "20240101", False),
        (Range(None, "20240102"), "20240103", False),
        (Range(None, None), "", False),
        (Empty(), "", True),
        (Empty(), "A", False),
    ],
)
def test_a_value_matches_by_the_kind_of_matching(matching, text, expected):
    assert matches(matching, text) is expected


@given(pattern=st.text(alphabet="ab*?", min_size=1, max_size=8), text=st.text(alphabet="ab", min_size=1, max_size=8))
def test_wild_cards_match_as_the_shell_does(pattern, text):
    expected = re.fullmatch(fnmatch.translate(pattern), text) is not None
    assert matches(Wildcard(pattern), text) is expected


def test_many_asterisks_do_not_multiply_the_work():
    assert not matches(Wildcard("*a" * 30 + "*b"), "a" * 60)
