"""The modules of a room import one another in one direction only, imports for type checkers included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {"osteon": "shared/osteon", "osteon_imaging": "services/imaging/osteon_imaging",
            "osteon_ingress": "services/ingress/osteon_ingress"}  # fmt: skip
ROOMS = ("osteon.dimse", "osteon.dicom", "osteon.tracing", "osteon_imaging", "osteon_ingress")


def modules() -> dict[str, Path]:
    """Return the files of the packages by the names of their modules."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in (ROOT / folder).rglob("*.py"):
            parts = (package, *file.relative_to(ROOT / folder).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imports(file: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules among `known` that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_of_a_room_imports_itself_by_way_of_others(room: str) -> None:
    known = modules()
    graph = {name: imports(file, known) for name, file in known.items() if name.startswith(room)}
    assert graph
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
