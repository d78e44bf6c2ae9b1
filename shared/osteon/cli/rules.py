"""`osteon rules check FILE`: says what is wrong with a file of rules, line by line."""

from pathlib import Path
from typing import Annotated

import typer

from osteon.rules.file import BadRulesFile, read_file

app = typer.Typer(help="Routing rules (docs/routing.md).", no_args_is_help=True)


@app.callback()
def rules() -> None:
    """Let `check` be a command of its own."""


@app.command()
def check(file: Annotated[Path, typer.Argument(help="YAML or JSON, as OSTEON_RULES_FILE.")]) -> None:
    """Check a file of rules; exits with 1 when something is wrong."""
    try:
        found = read_file(file)
    except BadRulesFile as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for rule in found:
        state = "" if rule.enabled else " (disabled)"
        typer.echo(f"{rule.name}{state}: {rule.body['when']} to {', '.join(map(_named, rule.body['send']))}")


def _named(destination: dict[str, str]) -> str:
    ((kind, name),) = destination.items()
    return f"{kind} {name}"
