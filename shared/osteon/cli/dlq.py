"""`osteon dlq`: dead letters, that is messages that no attempt could handle. No command deletes one."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from osteon.bus.envelope import DeadLetter
from osteon.bus.port import BusUnavailable
from osteon.bus.rabbit_dead_letters import ReplayReport, list_dead, replay_dead
from osteon.bus.rabbit_session import AmqpSession
from osteon.errors import Invalid, OsteonError
from osteon.logging import unheard
from osteon.runtime import settings_or_exit
from osteon.settings import BusSettings, ProcessSettings

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="List, show and replay messages that could not be handled.")
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
_Queue = Annotated[str, typer.Option("--queue", help="Only messages of this queue.")]
_STANDALONE = (
    "A standalone Osteon has no broker. It reports parked messages in its log and in the metric "
    'osteon_queue_messages{queue="osteon.dead"}, and handles them again at its next start.'
)


class DlqSettings(ProcessSettings, BusSettings):
    """Where the broker is."""


@app.command("list")
def list_(queue: _Queue = "", as_json: _Json = False) -> None:
    """List parked messages, oldest first."""
    dead = [each for each in _run(_list()) if queue in ("", each.queue)]
    if as_json:
        typer.echo(json.dumps([facts(each) for each in dead], indent=2))
    elif not dead:
        typer.echo("No message is parked.")
    else:
        _console().print(_table(dead))
        typer.echo("Details: osteon dlq show ID. Try again: osteon dlq replay ID.")


@app.command()
def show(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Identifier or its beginning.")],
    as_json: _Json = False,
) -> None:
    """Show one message and why it was parked."""
    (chosen,) = _run(_chosen([identifier]))
    known = facts(chosen)
    if as_json:
        typer.echo(json.dumps(known, indent=2))
        return
    for name, value in known.items():
        if name != "body" and value not in ("", 0):
            typer.echo(f"{name.replace('_', ' '):<15} {value}")
    body = known["body"]
    typer.echo(body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False))


@app.command()
def replay(
    identifiers: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Identifiers or their beginnings.")
    ] = None,
    queue: _Queue = "",
    everything: Annotated[bool, typer.Option("--all", help="All parked messages.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Move messages back to their queues. A message that fails again is parked again."""
    if sum((bool(identifiers), bool(queue), everything)) != 1:
        raise typer.BadParameter("expected identifiers, or --queue, or --all")
    chosen = _run(_chosen(identifiers)) if identifiers else [d for d in _run(_list()) if queue in ("", d.queue)]
    if not chosen:
        typer.echo("No message is parked.")
        return
    if not yes:
        _console().print(_table(chosen))
        typer.confirm(f"Try {_count(len(chosen))} again?", abort=True)
    wanted = {dead.envelope.id for dead in chosen}
    _report(wanted, _run(_replay(wanted)))


def facts(dead: DeadLetter) -> dict[str, Any]:
    """Return the fields of a dead letter for output; `body` is the decoded JSON, or text when it is no JSON."""
    envelope, history = dead.envelope, dead.envelope.history
    body = _body(envelope.body)
    return {
        "id": envelope.id,
        "queue": dead.queue,
        "message": envelope.type,
        "parked_at": dead.parked_at.astimezone(UTC).isoformat(timespec="seconds"),
        "reason": dead.reason,
        "attempts": history.attempts,
        "replays": history.replays,
        "error": history.last_error,
        "first_error": history.first_error if history.first_error != history.last_error else "",
        "place": history.place,
        "pack_id": body.get("pack_id", "") if isinstance(body, dict) else "",
        "correlation_id": envelope.correlation_id,
        "body": body,
    }


def age(since: datetime, now: datetime) -> str:
    """Return how long ago something was, in its largest unit."""
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def pick(dead: Collection[DeadLetter], beginnings: Collection[str]) -> list[DeadLetter]:
    """Return the dead letter that each beginning of an identifier names; raises `Invalid` for none or several."""
    found: dict[str, DeadLetter] = {}
    for beginning in beginnings:
        same = {each.envelope.id: each for each in dead if each.envelope.id.startswith(beginning)}
        if len(same) != 1:
            raise Invalid(
                f"{beginning}: {'several parked messages begin with this' if same else 'no such parked message'}"
            )
        found |= same
    return list(found.values())


def _console() -> Console:
    # Into a pipe goes a line for each, whole, whatever its length.
    return Console(width=None if sys.stdout.isatty() else 10_000)


def _table(dead: Collection[DeadLetter]) -> Table:
    table = Table("id", "queue", "message", "age", "attempts", "reason", "pack / correlation", box=None)
    now = datetime.now(UTC)
    for each in dead:
        known = facts(each)
        again = f" (replayed {known['replays']} times)" if known["replays"] else ""
        table.add_row(
            known["id"][:12],
            each.queue,
            each.envelope.type,
            age(each.parked_at, now),
            str(known["attempts"]),
            f"{each.reason}{again}: {known['error']}",
            "\n".join(filter(None, (known["pack_id"], each.envelope.correlation_id))),
        )
    return table


def _body(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _report(wanted: Collection[str], replayed: ReplayReport) -> None:
    typer.echo(f"{_count(len(replayed.done))} moved back to their queues. Failures appear in: osteon dlq list")
    gone = set(wanted).difference(replayed.done, replayed.queue_missing)
    for identifier in replayed.queue_missing:
        typer.echo(f"{identifier}: its queue does not exist (start its service first); still parked", err=True)
    for identifier in gone:
        typer.echo(f"{identifier}: not parked any more, or in use by another command", err=True)
    if gone or replayed.queue_missing:
        raise typer.Exit(1)


def _count(number: int) -> str:
    return f"{number} message" + "s" * (number != 1)


@asynccontextmanager
async def _broker() -> AsyncIterator[AmqpSession]:
    settings = settings_or_exit(DlqSettings)
    try:
        session = await AmqpSession.open(settings.amqp_url.get_secret_value())
    except BusUnavailable as error:
        raise BusUnavailable(f"OSTEON_AMQP_URL: {error}\n{_STANDALONE}") from error
    try:
        yield session
    finally:
        await session.close()


async def _list() -> list[DeadLetter]:
    async with _broker() as session:
        return await list_dead(session)


async def _chosen(beginnings: Collection[str]) -> list[DeadLetter]:
    return pick(await _list(), beginnings)


async def _replay(ids: Collection[str]) -> ReplayReport:
    async with _broker() as session:
        return await replay_dead(session, ids)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        with unheard():  # what aiormq logs is in the error
            return asyncio.run(work)
    except OsteonError as error:
        typer.echo(f"osteon dlq: {error}", err=True)
        raise typer.Exit(1) from None
