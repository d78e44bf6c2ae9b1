"""`osteon rules check FILE`: reports the errors of a file of rules, one a line."""

from pathlib import Path
from typing import Annotated

import typer

from osteon.rules.file import BadRulesFile, read_file

app = typer.Typer(help="Routing rules (docs/routing.md).", no_args_is_help=True)


@app.callback()
def rules() -> None:
    """Keep `check` a subcommand although it is the only one."""


@app.command()
def check(file: Annotated[Path, typer.Argument(help="YAML or JSON, as OSTEON_RULES_FILE.")]) -> None:
    """Check a file of rules. Exit code: 0 valid, 1 invalid."""
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
