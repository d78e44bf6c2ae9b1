"""`osteon rules`: checks a file of rules; lists, adds and removes those of the archive by its REST API."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from osteon.cli.rest import JsonOption, UrlOption, print_found, request, segment
from osteon.rules.file import BadRulesFile, read_file
from osteon.rules.parsing import rule_object
from osteon.rules.port import StoredRule

app = typer.Typer(help="Routing rules (docs/routing.md).", no_args_is_help=True)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="YAML or JSON, as OSTEON_RULES_FILE.")]) -> None:
    """Check a file of rules: `osteon rules check rules.yaml`. Exit code: 0 valid, 1 invalid."""
    for rule in _rules_of(file):
        state = "" if rule.enabled else " (disabled)"
        typer.echo(f"{rule.name}{state}: {rule.body['when']} to {', '.join(map(_named, rule.body['send']))}")


@app.command("list")
def list_(url: UrlOption = "", as_json: JsonOption = False) -> None:
    """List the rules of the archive: `osteon rules list`."""
    found = request("GET", url, "/rules?expand")
    rows = (
        (name, "yes" if rule.get("enabled", True) else "no", rule["when"], ", ".join(map(_named, rule["send"])))
        for name, rule in found.items()
    )
    print_found(found, as_json, ("name", "enabled", "when", "sends to"), rows, "The archive has no rule.")


@app.command()
def add(file: Annotated[Path, typer.Argument(help="YAML or JSON, as OSTEON_RULES_FILE.")], url: UrlOption = "") -> None:
    """Add or replace all rules of a file: `osteon rules add rules.yaml`."""
    for rule in _rules_of(file):
        request("PUT", url, f"/rules/{segment(rule.name)}", rule_object(rule))
        typer.echo(f"{rule.name} added")


@app.command()
def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the rule.")], url: UrlOption = "") -> None:
    """Remove a rule: `osteon rules remove to-archive`."""
    request("DELETE", url, f"/rules/{segment(name)}")
    typer.echo(f"{name} removed")


def _rules_of(file: Path) -> Sequence[StoredRule]:
    try:
        return read_file(file)
    except BadRulesFile as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _named(destination: dict[str, str]) -> str:
    ((kind, name),) = destination.items()
    return f"{kind} {name}"
