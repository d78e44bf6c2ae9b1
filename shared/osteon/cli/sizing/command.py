"""`osteon sizing`: calculates hardware for a hospital. docs/sizing.md explains the model and its figures."""

import math
from typing import Annotated, Final

import orjson
import typer

from osteon.cli.sizing import measurements
from osteon.cli.sizing.measurements import GB, GIB, MB
from osteon.cli.sizing.model import Site, Sizing, StudyKind

_UNITS: Final = ((1000 * GB, "TB"), (GB, "GB"), (MB, "MB"))
_FORM: Final = "NAME:STUDIES:INSTANCES:MB"


def main(
    *,
    studies: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1e9,
            help=f"Studies a day, of {measurements.STUDY_INSTANCES} instances of {measurements.INSTANCE_MB} MB each.",
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar=_FORM,
            help="Studies a day, instances a study, megabytes an instance; once for each kind: CT:60:600:0.53.",
        ),
    ] = None,
    busy_hour: Annotated[
        float, typer.Option(min=0.0417, max=1, help="Part of a day that comes in its busiest hour.")
    ] = measurements.BUSY_HOUR,
    burst: Annotated[
        float, typer.Option(min=1, max=60, help="How many times the rate of that hour its busiest minutes bring.")
    ] = measurements.BURST,
    associations: Annotated[int, typer.Option(min=1, help="Open at once in those minutes.")] = 20,
    sent: Annotated[
        float, typer.Option(min=0, max=1000, help="Instances out by C-MOVE, C-GET and routing, for each that comes in.")
    ] = 0.5,
    viewed: Annotated[
        float, typer.Option(min=0, max=1000, help="Instances out by HTTP, for each that comes in.")
    ] = 0.5,
    outage: Annotated[
        float,
        typer.Option(
            min=0.01, max=8760, help="Hours for which the object store or the broker may be away at that rate."
        ),
    ] = 4.0,
    years: Annotated[int, typer.Option(min=1, max=100, help="For which everything is kept.")] = 10,
    growth: Annotated[
        float, typer.Option(min=-0.5, max=2, help="Part by which each year brings more than the last: 0.1.")
    ] = 0.0,
    spare: Annotated[int, typer.Option(min=0, max=10, help="Replicas of each service that may be away.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for scripts; bytes, cores, instances per second.")
    ] = False,
) -> None:
    """Calculate what an archive needs: replicas, cores, memory, spool, database, object store, RabbitMQ."""
    site = Site(
        _kinds(studies, kind or []),
        busy_hour=busy_hour,
        burst=burst,
        associations=associations,
        sent=sent,
        viewed=viewed,
        outage=outage,
        years=years,
        growth=growth,
        spare=spare,
    )
    sizing = Sizing(site)
    typer.echo(orjson.dumps(facts(sizing), option=orjson.OPT_INDENT_2) if as_json else "\n".join(lines(sizing)))


def _kinds(studies: float | None, kinds: list[str]) -> list[StudyKind]:
    if (studies is None) == (not kinds):
        raise typer.BadParameter("give either --studies or --kind", param_hint="--studies")
    return [_kind(text) for text in kinds] if studies is None else [StudyKind("studies", studies)]


def _kind(text: str) -> StudyKind:
    try:
        name, studies, instances, megabytes = text.split(":")
        found = StudyKind(name, float(studies), float(instances), float(megabytes))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not {_FORM}", param_hint="--kind") from None
    if not all(0 < number <= 1e9 for number in (found.studies, found.instances, found.megabytes)):
        raise typer.BadParameter(
            f"{text!r}: numbers must be greater than 0, and at most a thousand million", param_hint="--kind"
        )
    return found


def lines(sizing: Sizing) -> list[str]:
    """Return the report."""
    site, most = sizing.site, sizing.site.burst
    return [
        *_rows(
            ("comes in", f"{site.instances_a_day:,.0f} instances a day, {_size(site.bytes_a_day)}"),
            ("busiest hour", f"{site.rate:,.1f} instances/s, {site.bytes_a_second / MB:,.1f} MB/s"),
            ("its peaks", f"{most * site.rate:,.1f} instances/s, {most * site.bytes_a_second / MB:,.1f} MB/s"),
        ),
        "",
        f"{'service':<12}{'replicas':>8}{'busy cores':>12}{'memory each':>14}",
        *(
            _columns(service.name, str(service.replicas), sizing.cores.get(service.name), f"{service.memory_gib} GiB")
            for service in sizing.services
        ),
        *(_columns(name, "", sizing.cores[name], "") for name in ("rabbitmq", "postgres", "objects")),
        "",
        *_rows(
            ("cores", f"{_tenths(sizing.all_cores)}, and {_tenths(sizing.objects_cores)} more for the object store"),
            ("memory", f"{sizing.memory_gib} GiB for the services"),
            ("spool", f"{_size(sizing.spool)} for {site.outage:g} h; {_gib(sizing.spool_each)} for each ingress"),
            ("", f"each byte is written and read once: {2 * most * site.bytes_a_second / MB:,.1f} MB/s"),
            ("object store", _grows(sizing.objects_a_year, sizing.objects, site.years)),
            ("database", _grows(sizing.database_a_year, sizing.database, site.years)),
            ("", f"a volume of {_gib(sizing.database_volume)}"),
            ("rabbitmq", f"{sizing.messages_a_second:,.1f} messages/s at most; {_size(sizing.queued)} after an outage"),
        ),
    ]  # fmt: skip


def _columns(name: str, replicas: str, cores: float | None, memory: str) -> str:
    """Write a line of the table; `cores` is None where nothing was measured."""
    busy = "-" if cores is None else f"{cores:.2f}"
    return f"{name:<12}{replicas:>8}{busy:>12}{memory:>14}".rstrip()


def _rows(*rows: tuple[str, str]) -> list[str]:
    return [f"{name:<14}{text}" for name, text in rows]


def _grows(first: float, last: float, years: int) -> str:
    return f"{_size(first)} in the first year, {_size(last)} after {years}"


def facts(sizing: Sizing) -> dict[str, object]:
    """Return the same as numbers."""
    site = sizing.site
    return {
        "instances_a_day": site.instances_a_day,
        "bytes_a_day": site.bytes_a_day,
        "instances_a_second": site.rate,
        "bytes_a_second": site.bytes_a_second,
        "services": {
            service.name: {
                "replicas": service.replicas,
                "cores": sizing.cores.get(service.name),
                "memory_bytes": service.memory_gib * GIB,
            }
            for service in sizing.services
        },
        "cores": sizing.all_cores,
        "object_store_cores": sizing.objects_cores,
        "spool_bytes": sizing.spool,
        "spool_bytes_each": sizing.spool_each,
        "object_store_bytes_a_year": sizing.objects_a_year,
        "object_store_bytes": sizing.objects,
        "database_bytes_a_year": sizing.database_a_year,
        "database_bytes": sizing.database,
        "database_volume_bytes": sizing.database_volume,
        "rabbitmq_messages_a_second": sizing.messages_a_second,
        "rabbitmq_bytes": sizing.queued,
    }


def _size(count: float) -> str:
    """Write bytes as MB, GB or TB, as disks are sold."""
    unit, name = next(((unit, name) for unit, name in _UNITS if count >= unit), _UNITS[-1])
    return f"{count / unit:,.{0 if count >= 10 * unit else 1}f} {name}"


def _tenths(cores: float) -> str:
    """Write cores, rounded up."""
    return f"{math.ceil(cores * 10) / 10:,.1f}"


def _gib(count: float) -> str:
    """Write bytes as GiB, rounded up, as volumes are claimed."""
    return f"{-(-count // GIB):,.0f} GiB"
