"""The modules of all distributions, for tests that read their syntax trees."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def modules() -> dict[str, Path]:
    """Return the files of all distributions by the names of their modules; a package's is its `__init__.py`."""
    found: dict[str, Path] = {}
    for package in (ROOT / "shared" / "osteon", *ROOT.glob("services/*/osteon_*")):
        for path in package.rglob("*.py"):
            parts = path.relative_to(package.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def syntax_tree(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text())
