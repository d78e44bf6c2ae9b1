"""What the pages for operators say about tables, metrics and settings is so."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
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


@cache
def _options() -> dict[str, set[str]]:
    """Return the options of each command, those of its own commands among them, by its name."""
    found: dict[str, set[str]] = {point.name: set() for point in entry_points(group="osteon.services")}
    for point in entry_points(group="osteon.commands"):
        tool = point.load()
        if not isinstance(tool, typer.Typer):
            app = typer.Typer()
            app.command()(tool)
            tool = app
        found[point.name] = set(_options_of(typer.main.get_command(tool)))
    return found | {"version": set()}


def _options_of(command: Any) -> Iterator[str]:
    yield "--help"
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for each in getattr(command, "commands", {}).values():
        yield from _options_of(each)


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md"], ids=lambda page: page.name)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    """As it is typed, in a container, and in a pod."""
    text = page.read_text().replace("\\\n", " ")
    shown = re.findall(r"(?:`|^ *\$ |^ *|-- )osteon ([a-z][a-z-]*)(?: ([^`\n|]*))?", text, re.MULTILINE)
    shown += re.findall(r"compose run --rm [a-z]+ ([a-z][a-z-]*)([^`\n|]*)", text)
    for name, arguments in shown:
        if name in _options():
            named = re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", arguments.partition("#")[0])
            assert set(named) <= _options()[name], f"osteon {name}"
        else:
            assert name == "service", f"osteon {name}"  # any of them
