"""The pages that are made from the code say what the code says."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.metrics import MetricWrapperBase

from osteon import metrics
from osteon.settings import known_names

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("osteon_docs_generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "metrics.md", "transfer-syntaxes.md", "conformance.md", "sizing.md"])
def test_a_page_is_what_make_docs_writes(generate: ModuleType, name: str) -> None:
    assert (DOCS / name).read_text() == generate.pages()[DOCS / name], "run `make docs`"


def test_every_answer_of_the_calculator_is_todays(generate: ModuleType) -> None:
    page = (DOCS / "sizing.md").read_text()
    answers = [found["answer"] for found in generate._SIZING.finditer(page)]
    assert len(answers) == page.count("$ osteon sizing ") == 3
    assert all(answer.startswith("comes in") for answer in answers)


def test_every_setting_has_a_row_with_its_meaning_and_a_service_that_reads_it(generate: ModuleType) -> None:
    lines = [line.split(" | ") for line in generate.settings_page().splitlines() if line.startswith("| `OSTEON_")]
    first = [cells for cells in lines if len(cells) == len(("name", "example", "meaning"))]
    rows = [cells for cells in lines if cells not in first]
    assert len(first) == 10
    assert {row[0] for row in first} <= {row[0] for row in rows}
    assert {row[0].strip("| `") for row in rows} == known_names()
    for name, _, meaning, services in rows:
        assert meaning, name
        assert services.strip(" |-"), f"{name} is read by no service"


def test_every_metric_has_a_row(generate: ModuleType) -> None:
    page = generate.metrics_page()
    names = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    assert len(names) > 20
    assert page.count("\n| `osteon_") == len(names)
    assert "| `osteon_cstore_responses_total` | counter | `status` |" in page
    assert "| `osteon_cstore_ack_duration_seconds` | histogram | - |" in page


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
