"""Every module, path and test that a page names exists."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from osteon.sending.suboperations import SubOperationOutcome

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("services/*/README.md"))]
SERVICES = sorted(path.parent for path in ROOT.glob("services/*/pyproject.toml"))
IMPORTED_FROM = [ROOT / "shared", ROOT / "deploy/local", *SERVICES]

COUNTS = {f"osteon.{result}" for result in SubOperationOutcome}
"""Attributes of the span of a C-STORE."""

_MODULE = re.compile(r"(?<![\w./-])osteon(?:_[a-z]+)?(?:\.\w+)+")
_DEPLOYMENT = f"deploy/(?:{'|'.join(path.name for path in SERVICES)})\\b"  # as kubectl has it: no folder
_PATH = re.compile(rf"(?<![\w./<>{{-])(?!{_DEPLOYMENT})(?:shared|services|tests|docs|k8s|deploy)/[\w.*/-]*[\w*]")
_TEST = re.compile(r"(?<=…)[a-z0-9][a-z0-9_]{5,}(?=[…`])|(?<=::)test_[a-z0-9_]+")
_TEST_FILE = re.compile(r"(?:\w+/)*test_\w+\.py")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def sources() -> str:
    return "\n".join(path.read_text() for folder in IMPORTED_FROM for path in folder.rglob("*.py"))


@cache
def modules_of_tests() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("tests/**/test_*.py")}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    """Or a function, class or constant of one, or a name with dots in quotes in the code: of a queue, of a span."""
    named = set(_MODULE.findall(page.read_text())) - COUNTS
    assert {name for name in named if not any(_definitions(name)) and f'"{name}' not in sources()} == set()


def _definitions(name: str) -> Iterator[str]:
    module, _, attribute = name.rpartition(".")
    for folder in IMPORTED_FROM:
        yield from (str(path) for path in folder.glob(f"{name.replace('.', '/')}*") if path.suffix in ("", ".py"))
        for path in folder.glob(f"{module.replace('.', '/')}*"):
            text = (path / "__init__.py" if path.is_dir() else path).read_text()
            yield from re.findall(rf"^(?:async def |def |class ){attribute}\b|^{attribute}(?::| =)", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = {
        name for name in _PATH.findall(page.read_text()) if not name.rpartition("/")[2].isupper()
    }  # to be filled in
    assert {name for name in named if not any(ROOT.glob(name))} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    files = {
        file
        for file in _TEST_FILE.findall(text)
        if not any(f"/{name}".endswith(f"/{file}") for name in modules_of_tests())
    }
    assert files == set()
    functions = "\n".join(
        name for module in modules_of_tests().values() for name in re.findall(r"def (test_\w+)", module)
    )
    assert {part for part in _TEST.findall(text) if part not in functions} == set()
