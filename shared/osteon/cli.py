"""`osteon`: one command for every service and tool. Services and commands announce themselves by entry points."""

from importlib.metadata import EntryPoint, entry_points

import typer

from osteon import __version__

app = typer.Typer(
    name="osteon",
    help="Osteon, a DICOM archive of small services. Settings are environment variables OSTEON_… (docs/settings.md).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _add(point: EntryPoint, panel: str, summary: str | None = None) -> None:
    app.command(point.name, help=summary, rich_help_panel=panel)(point.load())


def main() -> None:
    """Entry point of the console script."""
    for point in sorted(entry_points(group="osteon.services"), key=lambda p: p.name):
        _add(point, "Services", f"Run the service {point.name} (services/{point.name}/README.md).")
    for point in sorted(entry_points(group="osteon.commands"), key=lambda p: p.name):
        _add(point, "Tools")
    app()


if __name__ == "__main__":
    main()
