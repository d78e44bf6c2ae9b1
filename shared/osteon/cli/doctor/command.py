"""`osteon doctor`."""

import os
import sys
from importlib.metadata import entry_points
from typing import Annotated, Final

import typer
from rich.console import Console

from osteon.cli import where
from osteon.cli.doctor.report import Finding, Report, Severity
from osteon.cli.doctor.runner import run
from osteon.cli.doctor.table import PROBES, SETTINGS, ClusterSettings
from osteon.logging import unheard
from osteon.settings import Settings, read

CLUSTER: Final = "cluster"
STANDALONE: Final = "standalone"
_NAMES: Final = (SETTINGS, *dict.fromkeys(probe.name for probe in PROBES))


def main(
    *,
    service: Annotated[
        str, typer.Option(help="Check only what this service needs; `cluster`: all parts. Default: by the settings.")
    ] = "",
    only: Annotated[list[str] | None, typer.Option(help=f"Only this part, repeatable: {', '.join(_NAMES)}.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each part; all are checked concurrently.")
    ] = 15.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    warnings_ok: Annotated[
        bool, typer.Option("--warnings-ok", help="Exit with 0 when there are only warnings.")
    ] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Exit with 2 only when a service cannot start, else with 0.")
    ] = False,
) -> None:
    """Check every part that Osteon needs, and report how to fix it. Exit code: 0 good, 1 warnings, 2 failures."""
    unknown = sorted(set(only or ()) - set(_NAMES))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(_NAMES)}", param_hint="--only")
    with unheard():  # the report has it
        report, hanging = examine(service or _by_settings(), only or _NAMES, timeout)
    if as_json:
        typer.echo(report.to_json())
    else:
        report.print_to(Console())
    code = _exit_code(report, warnings_ok=warnings_ok, init=init)
    if hanging:
        # A thread of the probe's own may hang in the kernel forever, and Python waits for it.
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code)


def _exit_code(report: Report, *, warnings_ok: bool, init: bool) -> Severity:
    """With `init`, a part that services wait for does not count: a pod that is not started cannot wait."""
    if init:
        return Severity.OK if report.starts else Severity.FAIL
    return Severity.OK if warnings_ok and report.level is Severity.WARN else report.level


def examine(service: str, only: list[str] | tuple[str, ...], seconds: float) -> tuple[Report, bool]:
    """Return the report, and whether a probe still hangs."""
    settings, problems = read(_settings_of(service))
    findings = [Finding(SETTINGS, Severity.FAIL, problem, "docs/settings.md lists them all.") for problem in problems]
    if settings is None:
        findings.append(Finding(SETTINGS, Severity.FAIL, "nothing else was checked", "Correct the settings first."))
        return Report(service, findings), False
    if SETTINGS in only and not problems:
        findings.append(Finding(SETTINGS, Severity.OK, f"all are known and valid for {service}"))
    chosen = [probe for probe in PROBES if probe.name in only and isinstance(settings, probe.needs)]
    found, hanging = run(chosen, settings, seconds=seconds)
    return Report(service, findings + found), hanging


def _settings_of(service: str) -> type[Settings]:
    """Return the settings class of a service, which is its entry point in `osteon.settings`."""
    if service == CLUSTER:
        return ClusterSettings
    points = entry_points(group="osteon.settings")
    if service not in points.names:
        there = ", ".join((CLUSTER, *sorted(points.names)))
        raise typer.BadParameter(f"{service}: there are {there}", param_hint="--service")
    kind: type[Settings] = points[service].load()
    return kind


def _by_settings() -> str:
    """Return `cluster` when the environment says where one of its parts is, else `standalone`."""
    return CLUSTER if where.of_services() else STANDALONE
