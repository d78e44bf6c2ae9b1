"""Runs probes concurrently, each in a daemon thread with a time limit."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from osteon.cli.doctor.report import Finding, Findings
from osteon.errors import OsteonError
from osteon.settings import Settings

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Probe(Generic[S]):
    """Checks one part of Osteon, for services whose settings include the group `needs`.

    `look` may block; it must undo every change that it makes. An `OsteonError` that it raises is a failure.
    """

    name: str
    summary: str
    needs: type[S]
    check: Callable[[S, Findings], None]
    starts_anyway: bool = False
    """Services start in spite of any finding: they wait for this part."""


def run(probes: Sequence[Probe[S]], settings: S, *, seconds: float) -> tuple[list[Finding], bool]:
    """Return the findings in the order of the probes, and whether one timed out.

    The threads are daemons: one that hangs in a system call does not keep the process from ending, but what it
    handed to other threads may. So a caller that gets True ends the process by `os._exit`.
    """
    looks = [(Findings(probe.name, probe.starts_anyway), threading.Event()) for probe in probes]
    for probe, (findings, done) in zip(probes, looks, strict=True):
        threading.Thread(target=_check, args=(probe, settings, findings, done), daemon=True, name=probe.name).start()
    deadline = time.monotonic() + seconds
    hanging = False
    found: list[Finding] = []
    for findings, done in looks:
        if not done.wait(max(0.0, deadline - time.monotonic())):
            hanging = True
            findings = _given_up(findings, seconds)  # noqa: PLW2901  (the probe goes on writing into its own)
        found += findings.found
    return found, hanging


def _check(probe: Probe[S], settings: S, findings: Findings, done: threading.Event) -> None:
    try:
        probe.check(settings, findings)
    except OsteonError as error:
        findings.fail(str(error), f"Nothing else of the {probe.name} was checked.")
    except Exception as error:
        # A defect of one probe must not hide what the others find.
        findings.fail(
            f"this probe failed while {findings.doing}: {type(error).__name__}: {error}", "Please report this defect."
        )
    finally:
        done.set()


def _given_up(findings: Findings, seconds: float) -> Findings:
    copy = Findings(findings.probe, findings.starts_anyway, list(findings.found))
    copy.fail(
        f"no answer within {seconds:g} s while {findings.doing}",
        "It accepts connections without answering, or the network drops packets. Check its log, or raise --timeout.",
    )
    return copy
