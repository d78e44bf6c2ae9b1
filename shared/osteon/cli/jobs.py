"""`osteon jobs`: what the archive sends and retrieves, by its REST API."""

from typing import Annotated

import typer

from osteon.cli.rest import JsonOption, UrlOption, print_found, print_json, request, segment

app = typer.Typer(no_args_is_help=True, help="Jobs of the archive (docs/jobs.md).")
_Id = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the job.")]
_State = Annotated[str, typer.Option(help="Only jobs in this state, such as Failure or Running.")]


@app.command("list")
def list_(state: _State = "", url: UrlOption = "", as_json: JsonOption = False) -> None:
    """List jobs, the newest first: `osteon jobs list --state Failure`."""
    found = [job for job in request("GET", url, "/jobs?expand") if state.lower() in ("", job["State"].lower())]
    rows = (
        (job["ID"], job["Type"], job["State"], f"{job['Progress']} %", job["CreationTime"], job.get("ErrorDetails", ""))
        for job in found
    )
    print_found(found, as_json, ("id", "type", "state", "progress", "created", "error"), rows, "No job.")


@app.command()
def show(job: _Id, url: UrlOption = "") -> None:
    """Print a job as JSON: `osteon jobs show ID`."""
    print_json(request("GET", url, f"/jobs/{segment(job)}"))


@app.command()
def remove(job: _Id, url: UrlOption = "") -> None:
    """Forget a job that is over: `osteon jobs remove ID`."""
    request("DELETE", url, f"/jobs/{segment(job)}")
    typer.echo(f"{job} removed")


def _command(name: str, help_text: str) -> None:
    def act(job: _Id, url: UrlOption = "") -> None:
        request("POST", url, f"/jobs/{segment(job)}/{name}", {})
        typer.echo(f"{job}: {name} accepted")

    app.command(name, help=help_text)(act)


_command("cancel", "Cancel a job: `osteon jobs cancel ID`.")
_command("pause", "Pause a job: `osteon jobs pause ID`.")
_command("resume", "Resume a paused job: `osteon jobs resume ID`.")
_command("resubmit", "Submit a failed job again: `osteon jobs resubmit ID`.")
