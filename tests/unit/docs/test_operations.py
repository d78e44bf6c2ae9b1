"""What the pages for operators say about tables, metrics and settings is so."""

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from osteon import metrics
from osteon.index import commitments, jobs, remote_tables, rule_tables  # noqa: F401  (their tables)
from osteon.index.tables import metadata
from osteon.settings import known_names

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = sorted(DOCS.rglob("*.md"), key=lambda page: page.name)


def test_each_table_is_once_in_what_reindex_brings_back() -> None:
    page = (DOCS / "backup.md").read_text()
    section = page.partition("### What reindex brings back")[2].partition("\n**")[0]
    cells = [line.split(" | ")[1] for line in section.splitlines() if line.startswith("| ") and "`" in line]
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(metadata.tables)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_and_setting_that_a_page_names_exists(page: Path) -> None:
    """A beginning of names stands for all of them: `osteon_spool_…`."""
    text = page.read_text()
    for pattern, known in (
        (r"\bosteon_[a-z_]+[a-z]\b", _metrics() | _modules()),
        (r"\bOSTEON_[A-Z][A-Z0-9_]+", known_names()),
    ):
        named = {name for name in re.findall(pattern, text) if not name.startswith("OSTEON_TEST")}
        assert {name for name in named if not any(each.startswith(name) for each in known)} == set()


def _metrics() -> set[str]:
    found = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    names = {family.name for metric in found for family in metric.describe()}
    return {name + end for name in names for end in ("_total", "_bucket", "_count", "_sum")}


def _modules() -> set[str]:
    services = {f"osteon_{path.name}" for path in (DOCS.parent / "services").iterdir()}
    return services | {"osteon_local", "osteon_objects"}
