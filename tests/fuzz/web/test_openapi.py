"""What the OpenAPI describes is what a running archive answers, and no request that it allows brings a 5xx.

schemathesis makes the requests. Its pytest plugin is not used: it would be imported by every run (pyproject.toml).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from osteon_query.app import create_app
from osteon_query.app_state import AppState
from support.archive.running import RunningArchive, StandaloneProcess
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED
from support.fuzz.case_counts import EFFORT
from support.packs.sealed_packs import part10
from support.query.application import QuerySettings, multipart

CASES = 3 * EFFORT
DOCUMENT: dict[str, Any] = create_app(cast(AppState, SimpleNamespace(settings=QuerySettings())), {}).openapi()
_METHODS = ("get", "put", "post", "delete", "patch")
_ELSEWHERE = ("/modalities", "/peers", "/tools/dicom-echo", "/rules", "/destinations")
"""Below these, requests that change something make the archive call other machines."""
SMALLEST = part10(ct_slice())
"""A data set that goes with each upload of parts."""
HELD_FILES = ("CT_small.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_palette.dcm", "reportsi.dcm")


def operations() -> Iterator[tuple[str, str]]:
    """Yield method and path of what may be asked at random."""
    for path, item in DOCUMENT["paths"].items():
        for method in _METHODS:
            if method in item and (method == "get" or not path.startswith(_ELSEWHERE)):
                yield method, path


@dataclass(frozen=True)
class OpenApiTarget:
    """A running archive, and path parameters that name something in it, by instance."""

    archive: RunningArchive
    held: list[dict[str, dict[str, str]]]
    """For each instance, by the first part of a path: name → value. `wado` is of query parameters."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenApiTarget]:
    process = StandaloneProcess(tmp_path_factory.mktemp("openapi") / "data", OSTEON_LOG_LEVEL="ERROR")
    archive = process.start()
    held = [_stored(archive, path) for name in HELD_FILES for path in BUNDLED.rglob(name)]
    assert len(held) >= len(HELD_FILES)
    yield OpenApiTarget(archive, held)
    assert process.stop() == 0


def _stored(archive: RunningArchive, path: Path) -> dict[str, dict[str, str]]:
    answer = archive.post("/instances", content=path.read_bytes()).json()
    tags = archive.get(f"{answer['Path']}/tags?simplify").json()
    wado = {"studyUID": "StudyInstanceUID", "seriesUID": "SeriesInstanceUID", "objectUID": "SOPInstanceUID"}
    return {
        "wado": {name: tags[keyword] for name, keyword in wado.items()},
        "dicom-web": {"study": tags["StudyInstanceUID"], "series": tags["SeriesInstanceUID"],
                      "instance": tags["SOPInstanceUID"], "frames": "1", "frame": "1", "path": "7FE00010"},
        "patients": {"id": answer["ParentPatient"]}, "studies": {"id": answer["ParentStudy"]},
        "series": {"id": answer["ParentSeries"]}, "instances": {"id": answer["ID"], "frame": "0", "index": "0"},
    }  # fmt: skip


@cache
def _schema() -> Any:
    import schemathesis

    for kind in ("application/dicom", "application/dicom+json", "application/dicom+xml", "application/zip"):
        schemathesis.serializer(kind)(lambda _, value: _bytes(value))
    schemathesis.serializer("multipart/related")(lambda _, value: multipart([_bytes(value), SMALLEST])[0])
    return schemathesis.openapi.from_dict(DOCUMENT)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(getattr(value, "data", value)).encode("utf-8", "replace")


@pytest.mark.parametrize(("method", "path"), [pytest.param(*each, id=" ".join(each)) for each in operations()])
def test_a_request_gets_an_answer_that_the_openapi_describes(target: OpenApiTarget, method: str, path: str) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    operation = _schema()[path][method.upper()]

    @seed(len(path))
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(), st.sampled_from([None, *target.held]))
    def ask(case: Any, held: dict[str, dict[str, str]] | None) -> None:
        known = (held or {}).get(path.split("/")[1], {})
        case.path_parameters = {name: known.get(name, value) for name, value in (case.path_parameters or {}).items()}
        case.query = {name: held["wado"].get(name, value) if held else value for name, value in case.query.items()}
        if case.media_type == "multipart/related":
            case.headers["Content-Type"] = multipart([])[1]
        case.call_and_validate(base_url=target.archive.url, checks=checks)

    ask()


def test_the_document_is_served_and_says_where_everything_is(target: OpenApiTarget) -> None:
    served = httpx.get(target.archive.url + "/openapi.json").json()
    assert served["paths"].keys() == DOCUMENT["paths"].keys()
