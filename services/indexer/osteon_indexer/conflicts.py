"""`osteon conflicts`: instances that were received in several versions."""

from pathlib import Path
from typing import Annotated, Final

import typer

from osteon.archive.conflicts import Conflict, Version
from osteon.conflicts import resolve as decide
from osteon.contracts.conflicts import Keep
from osteon_indexer.cli_backends import DataOption, open_backends, run

app = typer.Typer(
    no_args_is_help=True, help="List instances received in several versions, and choose which one to serve."
)
_PAGE: Final = 500
_Id = Annotated[int, typer.Argument(metavar="ID", help="Number of the conflict, as `osteon conflicts list` shows it.")]


@app.command("list")
def list_(
    data: DataOption = None,
    study: Annotated[str | None, typer.Option(help="Study Instance UID of either version.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List resolved conflicts too.")] = False,
) -> None:
    """List the open conflicts, oldest first."""
    run("conflicts", _list(data, study, resolved=None if everything else False))


async def _list(data: Path | None, study: str | None, *, resolved: bool | None) -> None:
    after = 0
    async with open_backends(data) as (_, index):
        while found := await index.conflicts(after=after, limit=_PAGE, study_uid=study, resolved=resolved):
            for each in found:
                uid = each.served.location.identity.sop_uid
                typer.echo(f"{each.id:>8}  {'resolved' if each.resolved else 'open':<8}  {each.detected:%F %T}  {uid}")
            after = found[-1].id


@app.command()
def show(conflict_id: _Id, data: DataOption = None) -> None:
    """Show both versions of one conflict."""
    _print(run("conflicts", _get(data, conflict_id)))


async def _get(data: Path | None, conflict_id: int) -> Conflict:
    async with open_backends(data) as (_, index):
        return await index.conflict(conflict_id)


@app.command()
def resolve(
    conflict_id: _Id,
    keep: Annotated[Keep, typer.Option(help="The version that is served from now on.")],
    data: DataOption = None,
) -> None:
    """Choose the version to serve; the other one is kept. It is safe to run again, and the choice can be changed."""
    _print(run("conflicts", _resolve(data, conflict_id, keep)))


async def _resolve(data: Path | None, conflict_id: int, keep: Keep) -> Conflict:
    async with open_backends(data) as (objects, index):
        return await decide(conflict_id, keep, objects=objects, index=index, correlation_id="osteon-conflicts")


@app.command()
def studies(data: DataOption = None) -> None:
    """List the studies whose images name several patients, with the instances of each patient."""
    run("conflicts", _list_studies(data))


async def _list_studies(data: Path | None) -> None:
    after = ""
    async with open_backends(data) as (_, index):
        while found := await index.split_studies(after=after, limit=_PAGE):
            for each in found:
                typer.echo(each.study_uid)
                for match in each.parts:
                    of, study = match.patient.attributes, match.study
                    instances = study.instances if study else 0
                    typer.echo(f"  {instances:>8}  {of.get('PatientID', '')!r}  {of.get('PatientName', '')}")
            after = found[-1].study_uid


def _print(conflict: Conflict) -> None:
    state = f"resolved {conflict.resolved:%F %T}" if conflict.resolved else "open"
    typer.echo(f"conflict {conflict.id}, {state}: instance {conflict.served.location.identity.sop_uid}")
    for name, version in (("first", conflict.first), ("second", conflict.second)):
        _print_version(name, version, "served" if version == conflict.served else "aside")


def _print_version(name: str, version: Version, state: str) -> None:
    where, identity = version.location, version.location.identity
    sender = version.calling_aet or version.origin.value
    typer.echo(f"  {name} ({state}): received {version.received:%F %T} from {sender} {version.remote_host}")
    typer.echo(f"    patient {identity.patient_id}, study {identity.study_uid}, series {identity.series_uid}")
    typer.echo(f"    {where.length} bytes at {where.offset} of {where.key}, SHA-256 {where.sha256.hex()}")
