"""Nested sequences of any shape: the header against a model that knows what was written."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.header.reader import HeaderReader
from support.dicom.elements import (
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    implicit,
    item,
    read,
    sequence,
    value_of,
)

SEQUENCES = (0x00081115, 0x00081140, 0x0040A730)
TEXTS = (0x00080060, 0x00100020, 0x00400009)
VRS = {0x00080060: "CS", 0x00100020: "LO", 0x00400009: "SH"}

Built = tuple[dict[str, Any], bytes]
"""A data set: what its header should be, and its bytes."""


def leaf(tag: int, syntax: str) -> st.SearchStrategy[tuple[int, dict[str, Any], bytes]]:
    def build(text: str) -> tuple[int, dict[str, Any], bytes]:
        raw = text.encode() + b" " * (len(text) % 2)
        data = explicit(tag, VRS[tag], raw) if syntax == EXPLICIT else implicit(tag, raw)
        return tag, {"vr": VRS[tag], "Value": [text]} if text else {"vr": VRS[tag]}, data

    return st.text("ABCDEFGHIJ0123456789", max_size=8).map(build)


def branch(tag: int, syntax: str, children: st.SearchStrategy[Built]) -> st.SearchStrategy[Any]:
    def build(parts: list[tuple[Built, bool]], undefined: bool) -> tuple[int, dict[str, Any], bytes]:
        body = b"".join(item(data, undefined=open_ended) for (_, data), open_ended in parts)
        if syntax == EXPLICIT:
            data = sequence(tag, body, undefined=undefined)
        elif undefined:
            data = implicit(tag, body + SEQUENCE_END, length=UNDEFINED)
        else:
            data = implicit(tag, body)
        items = [model for (model, _), _ in parts]
        return tag, {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}, data

    return st.builds(build, st.lists(st.tuples(children, st.booleans()), max_size=3), st.booleans())


def data_sets(syntax: str) -> st.SearchStrategy[Built]:
    def join(elements: list[tuple[int, dict[str, Any], bytes]]) -> Built:
        unique = sorted({tag: (tag, model, data) for tag, model, data in elements}.values(), key=lambda e: e[0])
        return {f"{tag:08X}": model for tag, model, _ in unique}, b"".join(data for _, _, data in unique)

    leaves = st.one_of([leaf(tag, syntax) for tag in TEXTS])

    def deeper(children: st.SearchStrategy[Built]) -> st.SearchStrategy[Built]:
        branches = st.one_of([branch(tag, syntax, children) for tag in SEQUENCES])
        return st.lists(st.one_of(leaves, branches), max_size=4).map(join)

    return st.recursive(st.lists(leaves, max_size=3).map(join), deeper, max_leaves=12)


SHARED = HeaderReader()


@pytest.mark.slow
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_header_of_any_nesting_is_what_was_written(syntax: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(data_sets(syntax))
    def check(built: Built) -> None:
        model, data = built
        for reader in (SHARED, HeaderReader(), SHARED):
            header = reader.read(data, syntax)
            assert json.loads(header.json) == model
            assert header.problems == ()

    check()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_any_damage_is_an_error_or_a_header_but_never_anything_else(syntax: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(data_sets(syntax), st.data())
    def check(built: Built, choice: st.DataObject) -> None:
        damaged = bytearray(built[1] or b"\0" * 8)
        for _ in range(choice.draw(st.integers(1, 4))):
            damaged[choice.draw(st.integers(0, len(damaged) - 1))] = choice.draw(st.integers(0, 255))
        try:
            header = HeaderReader().read(bytes(damaged), syntax)
        except BadDataSet as error:
            assert 0 <= error.offset <= len(damaged)
        else:
            json.loads(header.json)

    check()


@pytest.mark.parametrize("undefined", [False, True])
def test_nesting_deeper_than_the_stack_is_read_to_the_limit_and_marked(undefined: bool) -> None:
    depth = 20 * sys.getrecursionlimit() if undefined else 2000
    data = explicit(0x00100020, "LO", b"P1")
    if undefined:
        head = explicit(0x00081140, "SQ", length=UNDEFINED) + item(undefined=True)[:8]
        data = head * depth + data + (ITEM_END + SEQUENCE_END) * depth
    else:
        for _ in range(depth):
            data = sequence(0x00081140, item(data))
    found, header = read(data + explicit(0x00100020, "LO", b"P2"), max_depth=50)
    assert found["00100020"]["Value"] == ["P2"]
    levels = 0
    while found := found["00081140"].get("Value", [{}])[0]:
        levels += 1
        if "00081140" not in found:
            break
    assert levels == 50
    assert "nested deeper than 50" in header.problems[0].reason


def test_default_depth_can_be_parsed_by_every_json_parser() -> None:
    import orjson

    data = b""
    for _ in range(500):
        data = sequence(0x00081140, item(data))
    header = HeaderReader().read(data, EXPLICIT)
    assert orjson.loads(header.json) == json.loads(header.json)


def test_sequence_delimiter_in_a_sequence_of_defined_length_is_tolerated() -> None:
    data = explicit(0x00081140, "SQ", item(explicit(0x00080060, "CS", b"CT")) + SEQUENCE_END)
    found, _ = read(data + explicit(0x00100020, "LO", b"P1"))
    assert found["00081140"]["Value"] == [{"00080060": {"vr": "CS", "Value": ["CT"]}}]
    assert found["00100020"]["Value"] == ["P1"]


def test_missing_item_delimiter_before_the_sequence_delimiter_is_marked() -> None:
    inner = item(explicit(0x00080060, "CS", b"CT"), undefined=True).removesuffix(ITEM_END)
    found, header = read(explicit(0x00081140, "SQ", inner + SEQUENCE_END, length=UNDEFINED))
    assert found["00081140"]["Value"] == [{"00080060": {"vr": "CS", "Value": ["CT"]}}]
    assert "delimiter" in header.problems[0].reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            explicit(0x00081140, "SQ", explicit(0x00080060, "CS", b"CT")),
            "00081140.0..00080060 at byte 12: expected an item",
        ),
        (explicit(0x00081140, "SQ", item(b"", length=100)), "FFFEE000 at byte 12: an item of 100 bytes is longer"),
        (
            explicit(0x00081140, "SQ", item(explicit(0x00080060, "CS", b"CT", length=3))),
            "00081140.0..00080060 at byte 20",
        ),
        (explicit(0x00081140, "SQ", item(undefined=True), length=UNDEFINED), "delimiter of a sequence is missing"),
        (explicit(0x00081140, "SQ", item(undefined=True)[:8], length=UNDEFINED), "delimiter of an item is missing"),
        (explicit(0x00100020, "LO", b"P1", length=UNDEFINED & 0xFFFF), "00100020 at byte 0: a value of 65535 bytes"),
        (explicit(0x00091001, "UT", b"ab", length=UNDEFINED), "00091001 at byte 0: undefined length with VR UT"),
        (item(), "FFFEE000 at byte 0: an item where an element is expected"),
        (explicit(0x00080060, "CS", b"CT") + b"\x08\0\0", "byte 10: the data set ends within"),
    ],
)
def test_contradiction_is_an_error_that_names_tag_and_offset(data: bytes, reason: str) -> None:
    with pytest.raises(BadDataSet, match=reason):
        HeaderReader().read(data, EXPLICIT)


def test_item_that_overruns_its_sequence_is_not_called_truncation() -> None:
    data = explicit(0x00081140, "SQ", item(b"", length=20)) + explicit(0x00100020, "LO", b"P" * 30)
    with pytest.raises(BadDataSet, match="longer than the sequence or item around it") as caught:
        HeaderReader().read(data, EXPLICIT)
    assert not isinstance(caught.value, TruncatedDataSet)


def test_many_items_are_read_in_order() -> None:
    data = sequence(0x00081140, *(item(explicit(0x00200013, "IS", b"%d" % n)) for n in range(3000)), undefined=True)
    values = [entry["00200013"]["Value"][0] for entry in value_of(data, "00081140")["Value"]]
    assert values == list(range(3000))
