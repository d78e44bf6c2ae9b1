"""No circles: neither modules nor packages import each other round about, imports for types included."""

import ast
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
Graph = Mapping[str, set[str]]
EXCEPTED = (
    {"osteon.otel", "osteon.tracing"},
    {"osteon.dicom.pixels.access", "osteon.dicom.pixels.source"},
    {
        "osteon.dimse.handler", "osteon.dimse.invoker", "osteon.dimse.message", "osteon.dimse.negotiation",
        "osteon.dimse.observer", "osteon.dimse.user",
    },
    {"osteon.commitment", "osteon.index", "osteon.jobs", "osteon.rules", "osteon.stored"},
)  # fmt: skip
"""Circles that are still there."""


def modules() -> dict[str, Path]:
    """Return the files of all distributions by the names of their modules."""
    found: dict[str, Path] = {}
    for package in (ROOT / "shared" / "osteon", *ROOT.glob("services/*/osteon_*")):
        for path in package.rglob("*.py"):
            parts = path.relative_to(package.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules that a file imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in known else node.module


def module_graph() -> Graph:
    """Return which module imports which."""
    known = modules()
    return {name: {each for each in imported(path, known) if each in known} - {name} for name, path in known.items()}


def package_graph() -> Graph:
    """Return which package, one below its distribution, imports which."""
    found: dict[str, set[str]] = {}
    for name, targets in module_graph().items():
        package = package_of(name)
        found.setdefault(package, set()).update({package_of(target) for target in targets} - {package})
    return found


def package_of(name: str) -> str:
    """Return the package of a module."""
    return ".".join(name.split(".")[:2])


def circle(graph: Graph) -> list[str]:
    """Return the names of one circle, none when there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names: list[str] = error.args[1]
        return names
    return []


def without_excepted(graph: Graph) -> Graph:
    """Leave out the imports inside an excepted circle."""
    return {
        name: {each for each in targets if not any({name, each} <= circle for circle in EXCEPTED)}
        for name, targets in graph.items()
    }


@pytest.mark.parametrize("graph", [module_graph, package_graph])
def test_nothing_imports_itself_round_about(graph: Callable[[], Graph]) -> None:
    assert circle(without_excepted(graph())) == []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
