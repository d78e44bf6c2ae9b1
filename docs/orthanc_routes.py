"""The page `orthanc-routes.md`: which of Orthanc's routes there are, from a table and the application itself."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

from fastapi.routing import APIRoute

from osteon_query.app import ROUTERS

TABLE: Final = Path(__file__).resolve().with_name("orthanc-routes.tsv")
_GROUPS: Final = {
    "{levels}": ("patients", "studies", "series", "instances"),
    "{parents}": ("patients", "studies", "series"),
}
_PAGE: Final = """# Orthanc's routes

Which routes of Orthanc 1.12's REST API this archive has. `make docs` generates this page from the application's routes
and `docs/orthanc-routes.tsv`. *yes*: as Orthanc; *differently*: what the note says; *no*: 404, 405, or the note.
`{levels}` stands for `patients`, `studies`, `series` and `instances`, `{parents}` for the first three.

| route | | note |
|---|---|---|
"""


class OrthancRoute(NamedTuple):
    """A line of the table: methods, path, and what is different; `no:` begins a note on what is refused."""

    methods: tuple[str, ...]
    path: str
    note: str

    def operations(self) -> Iterator[tuple[str, str]]:
        """Yield (method, path) with the names of path parameters left out."""
        choices = [_GROUPS.get(part, (part,)) for part in self.path.split("/")]
        for parts, method in product(product(*choices), self.methods):
            yield method, plain("/".join(parts))


def plain(path: str) -> str:
    """Return a path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def table() -> list[OrthancRoute]:
    """Read the table."""
    rows = (line.split("\t") for line in TABLE.read_text().splitlines())
    return [OrthancRoute(tuple(methods.split()), path, note.strip()) for methods, path, note in rows]


def application() -> set[tuple[str, str]]:
    """Return (method, path) of all routes of the application."""
    routes = (route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute))
    return {(method, plain(route.path)) for route in routes for method in route.methods}


def verdict(route: OrthancRoute, known: set[tuple[str, str]]) -> str:
    """Return `yes`, `differently` or `no`; raises `ValueError` when only some of its operations are there."""
    there = [operation in known for operation in route.operations()]
    if any(there) != all(there):
        missing = [f"{method} {path}" for method, path in route.operations() if (method, path) not in known]
        raise ValueError(f"{route.path}: split the line, as these are not there: {', '.join(missing)}")
    if not there[0] or route.note.startswith("no:"):
        return "no"
    return "differently" if route.note else "yes"


def page() -> str:
    """Return the page."""
    known = application()
    rows = []
    for route in table():
        note = route.note.removeprefix("no:").strip().replace("|", "\\|")
        rows.append(f"| `{' '.join(route.methods)} {route.path}` | {verdict(route, known)} | {note} |\n")
    return _PAGE + "".join(rows)
