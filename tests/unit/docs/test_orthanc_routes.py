"""`docs/orthanc-routes.tsv`: complete in both directions."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

DOCS: Final = Path(__file__).parents[3] / "docs"
OWN: Final = (
    "/", "/conflicts", "/destinations", "/dicom-web", "/reconciliations", "/rules", "/senders",
    "/tools/correct-patient", "/tools/reconcile", "/studies/{}/reconcile", "/queries/{}/answers/{}",
)  # fmt: skip
"""Beginnings of paths that Orthanc does not have, or that the DICOMweb pages describe."""


@pytest.fixture(scope="module")
def routes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("orthanc_routes", DOCS / "orthanc_routes.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_own(path: str) -> bool:
    return path == "/" or any(path == each or path.startswith(f"{each}/") for each in OWN[1:])


def test_every_route_of_the_application_that_orthanc_has_is_in_the_table(routes: Any) -> None:
    listed = {operation for route in routes.table() for operation in route.operations()}
    missing = {
        (method, path)
        for method, path in routes.application() - listed
        if (not is_own(path) or path.startswith("/dicom-web/servers")) and not path.endswith("/{}/{}/{}")
    }
    assert sorted(missing) == []


def test_every_line_is_there_whole_or_not_at_all_and_only_once(routes: Any) -> None:
    known = routes.application()
    verdicts = [routes.verdict(route, known) for route in routes.table()]
    assert verdicts.count("yes") > 100
    operations = [operation for route in routes.table() for operation in route.operations()]
    assert len(operations) == len(set(operations))


def test_a_line_of_which_a_part_is_missing_is_refused(routes: Any) -> None:
    route = routes.OrthancRoute(("GET", "PATCH"), "/patients/{id}", "")
    with pytest.raises(ValueError, match="PATCH /patients"):
        routes.verdict(route, routes.application())
