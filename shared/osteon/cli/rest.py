"""What commands that are thin clients of an archive's REST API share: the address, errors in words, tables."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote

import httpx
import orjson
import typer
from rich.console import Console
from rich.table import Table

_SECONDS: Final = 130.0
"""A C-ECHO to a silent modality takes up to two minutes."""

UrlOption = Annotated[
    str,
    typer.Option("--url", help="Base URL of the archive. Default: OSTEON_PUBLIC_URL, else OSTEON_HTTP_PORT here."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def request(method: str, url: str, path: str, body: object = None) -> Any:
    """Send a request to `path` below an archive's base URL (empty: the default one), and return the JSON it answers.

    What the archive refuses ends the process with its reason and the exit code 1, no answer with 2.
    """
    base = (url or os.environ.get("OSTEON_PUBLIC_URL") or _here()).rstrip("/")
    content = None if body is None else orjson.dumps(body)
    try:
        response = httpx.request(method, base + path, content=content, timeout=_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        typer.echo(f"osteon: no answer from {base}: {error}; is it running? (--url says where)", err=True)
        raise typer.Exit(2) from None
    answer = _json(response)
    if response.is_error:
        reason = answer.get("Details") if isinstance(answer, dict) else None
        typer.echo(f"osteon: {reason or f'HTTP {response.status_code} from {base}{path}'}", err=True)
        raise typer.Exit(1)
    return answer


def _here() -> str:
    return f"http://127.0.0.1:{os.environ.get('OSTEON_HTTP_PORT') or 8042}"


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None


def segment(name: str) -> str:
    """Return a name as a segment of a path."""
    return quote(name, safe="")


def print_found(
    found: object, as_json: bool, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str
) -> None:
    """Write what was found: as JSON for scripts, else its rows as a table for a person, or the sentence `empty`."""
    if as_json:
        print_json(found)
    else:
        print_table(columns, rows, empty)


def print_json(value: object) -> None:
    """Write a value for scripts."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Write rows for a person, or the sentence `empty`."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    # Into a pipe goes a line for each, whole, whatever its length.
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    console.print(table if table.row_count else empty, highlight=False, markup=False)
