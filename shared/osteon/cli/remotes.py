"""`osteon modalities` and `osteon peers`: whom the archive knows, by its REST API."""

import sys
from typing import Annotated

import typer

from osteon.cli.rest import JsonOption, UrlOption, print_found, request, segment
from osteon.cli.scu.options import only_address
from osteon.errors import Invalid

modalities = typer.Typer(no_args_is_help=True, help="Modalities that the archive knows (docs/modalities.md).")
peers = typer.Typer(no_args_is_help=True, help="Other archives that the archive knows by HTTP (docs/modalities.md).")
_Name = Annotated[str, typer.Argument(metavar="NAME", help="What the archive calls it.")]


@modalities.command("list")
def list_modalities(url: UrlOption = "", as_json: JsonOption = False) -> None:
    """List modalities: `osteon modalities list`."""
    found = request("GET", url, "/modalities?expand")
    rows = ((name, each["AET"], f"{each['Host']}:{each['Port']}") for name, each in found.items())
    print_found(found, as_json, ("name", "AE title", "address"), rows, "The archive knows no modality.")


@modalities.command("add")
def add_modality(
    name: _Name,
    aet: Annotated[str, typer.Argument(metavar="AET", help="AE title of the modality.")],
    words: Annotated[list[str], typer.Argument(metavar="HOST:PORT", help="HOST:PORT, or HOST PORT.")],
    url: UrlOption = "",
) -> None:
    """Add or replace a modality: `osteon modalities add ct CT_SCANNER ct.example.org:104`."""
    try:
        host, port = only_address(words)
    except Invalid as error:
        raise typer.BadParameter(str(error), param_hint="HOST:PORT") from None
    request("PUT", url, f"/modalities/{segment(name)}", {"AET": aet, "Host": host, "Port": port})
    typer.echo(f"{name}: {aet} at {host}:{port}")


@modalities.command("remove")
def remove_modality(name: _Name, url: UrlOption = "") -> None:
    """Remove a modality: `osteon modalities remove ct`."""
    request("DELETE", url, f"/modalities/{segment(name)}")
    typer.echo(f"{name} removed")


@modalities.command("echo")
def echo_modality(name: _Name, url: UrlOption = "") -> None:
    """Let the archive send a C-ECHO to a modality: `osteon modalities echo ct`."""
    request("POST", url, f"/modalities/{segment(name)}/echo", {})
    typer.echo(f"{name} answers")


@peers.command("list")
def list_peers(url: UrlOption = "", as_json: JsonOption = False) -> None:
    """List peers: `osteon peers list`."""
    found = request("GET", url, "/peers?expand")
    rows = ((name, each["Url"], each.get("Username") or "") for name, each in found.items())
    print_found(found, as_json, ("name", "URL", "user"), rows, "The archive knows no peer.")


@peers.command("add")
def add_peer(
    name: _Name,
    peer_url: Annotated[str, typer.Argument(metavar="URL", help="Base URL of its Orthanc-style REST API.")],
    user: Annotated[str, typer.Option(help="User; the password is the first line of standard input.")] = "",
    url: UrlOption = "",
) -> None:
    """Add or replace a peer: `osteon peers add backup https://backup.example.org:8042`."""
    password = ""
    if user:
        password = (
            typer.prompt("Password", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        )
    request("PUT", url, f"/peers/{segment(name)}", [peer_url, *([user, password] if user else [])])
    typer.echo(f"{name}: {peer_url}")


@peers.command("remove")
def remove_peer(name: _Name, url: UrlOption = "") -> None:
    """Remove a peer: `osteon peers remove backup`."""
    request("DELETE", url, f"/peers/{segment(name)}")
    typer.echo(f"{name} removed")


@peers.command("echo")
def echo_peer(name: _Name, url: UrlOption = "") -> None:
    """Let the archive ask a peer what it is: `osteon peers echo backup`."""
    found = request("GET", url, f"/peers/{segment(name)}/system")
    typer.echo(f"{name} answers: {found.get('Name', '')} {found.get('Version', '')}".rstrip())


def senders(url: UrlOption = "", as_json: JsonOption = False) -> None:
    """List who has sent what, the last one first: `osteon senders`."""
    found = request("GET", url, "/senders")
    rows = ((s["CallingAet"] or "(HTTP)", s["RemoteHost"], s["LastReceived"], s["CountInstances"]) for s in found)
    print_found(
        found, as_json, ("AE title", "address", "last received, UTC", "instances"), rows, "Nothing was received yet."
    )
