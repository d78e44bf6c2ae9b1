"""Modules and packages import one another in one direction only, imports for type checkers included."""

import ast
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from support.source_tree import modules, syntax_tree

Graph = Mapping[str, set[str]]


def imported(path: Path) -> Iterator[str]:
    """Yield the names of modules that a file imports, wherever the statement stands."""
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (name if name in modules() else node.module for name in submodules)


def module_graph() -> Graph:
    """Return which module imports which."""
    return {name: (set(imported(path)) & modules().keys()) - {name} for name, path in modules().items()}


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


@pytest.mark.parametrize("graph", [module_graph, package_graph])
def test_nothing_imports_itself_by_way_of_others(graph: Callable[[], Graph]) -> None:
    assert circle(graph()) == []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_the_format_of_packs_knows_neither_the_spool_nor_the_index() -> None:
    rooms = {f"osteon.{room}" for room in ("commitment", "index", "jobs", "remotes", "rules", "spool")}
    assert not package_graph()["osteon.packs"] & rooms
