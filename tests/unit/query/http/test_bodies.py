"""Limits of JSON bodies and of query strings."""

import pytest

from osteon_query.app_state import MAX_QUERY_PARAMETERS
from osteon_query.http.bodies import MAX_JSON_DEPTH, MAX_JSON_VALUES, parse_json
from osteon_query.http.errors import BadBody, TooLarge
from support.query.application import WEB, RunningQuery


def test_json_is_as_deep_as_the_limit_and_no_deeper() -> None:
    assert parse_json(b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH)
    with pytest.raises(BadBody, match="nested"):
        parse_json(b"[" * (MAX_JSON_DEPTH + 1) + b"1" + b"]" * (MAX_JSON_DEPTH + 1))


def test_json_has_as_many_values_as_the_limit_and_no_more() -> None:
    assert parse_json(b"[" + b",".join([b"1"] * MAX_JSON_VALUES) + b"]")
    with pytest.raises(TooLarge, match=str(MAX_JSON_VALUES)):
        parse_json(b"[" + b",".join([b"1"] * (MAX_JSON_VALUES + 1)) + b"]")


async def test_too_much_json_is_413_and_too_deep_json_400(archive: RunningQuery) -> None:
    wide = b"[" + b"1," * 300_000 + b"1]"
    assert (await archive.http.post("/tools/find", content=wide)).status_code == 413
    deep = b'{"Level":"Study","Query":{"PatientID":' + b"[" * 500 + b"]" * 500 + b"}}"
    answer = await archive.http.post("/tools/find", content=deep)
    assert (answer.status_code, "nested" in answer.json()["Details"]) == (400, True)


@pytest.mark.parametrize("path", ["/studies", f"{WEB}/studies"])
async def test_a_query_string_has_a_limit_of_parameters(archive: RunningQuery, path: str) -> None:
    answer = await archive.http.get(f"{path}?" + "&".join(["a=1"] * (MAX_QUERY_PARAMETERS + 1)))
    assert answer.status_code == 400
    assert str(MAX_QUERY_PARAMETERS) in answer.text
