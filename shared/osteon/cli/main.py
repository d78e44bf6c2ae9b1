"""Entry point of `osteon`, which runs every service and tool. Entry points of distributions name them."""

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from osteon import __version__
from osteon.heap import import_without_collecting

app = typer.Typer(
    name="osteon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"osteon {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Osteon, a DICOM archive of small services. Settings are environment variables OSTEON_… (docs/settings.md)."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def add_service(point: EntryPoint) -> None:
    """Add a service, which has no options; its code is imported only when it starts, its settings' names are known."""

    def start() -> None:
        refuse_unknown_settings()
        import_without_collecting()
        service: Callable[[], None] = point.load()
        service()

    app.command(point.name, help=f"Run the service {point.name}.", rich_help_panel="Services")(start)


def refuse_unknown_settings() -> None:
    """End the process when the environment has a setting that there is not: without importing a service."""
    from osteon.settings import exit_with, unknown_settings

    if wrong := unknown_settings():
        exit_with(wrong)


def add_tool(point: EntryPoint) -> None:
    """Add a tool, importing it for its options; one of several commands is a `Typer`."""
    tool = point.load()
    if isinstance(tool, typer.Typer):
        app.add_typer(tool, name=point.name, rich_help_panel="Tools")
    else:
        app.command(point.name, rich_help_panel="Tools")(tool)


def main() -> None:
    """Entry point of the console script."""
    services, tools = entry_points(group="osteon.services"), entry_points(group="osteon.commands")
    for point in sorted(services, key=lambda p: p.name):
        add_service(point)
    named = sys.argv[1] if sys.argv[1:] else ""
    if named not in {"version", *services.names}:
        # Importing all commands takes seconds, and only the list of commands needs them all.
        for point in sorted(tools, key=lambda p: p.name):
            if named == point.name or named not in tools.names:
                add_tool(point)
    app()
