"""Findings of the probes, one a line; the worst of them decides the exit code."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from rich.console import Console
from rich.text import Text


class Severity(IntEnum):
    """How bad a finding is; the number is the exit code."""

    OK = 0
    WARN = 1
    FAIL = 2


_STYLES = {Severity.OK: "green", Severity.WARN: "yellow", Severity.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check."""

    probe: str
    level: Severity
    what: str
    fix: str = ""
    """How to fix it: a command or a setting."""
    starts_anyway: bool = False
    """Services start in spite of it: they wait for the part, or fix it themselves."""


@dataclass(slots=True)
class Findings:
    """Findings of one probe so far; they are reported even when the probe times out."""

    probe: str
    starts_anyway: bool = False
    """Services start in spite of any finding of the probe."""
    found: list[Finding] = field(default_factory=list)
    doing: str = "starting"
    """Current step of the probe, reported when it times out."""

    def ok(self, what: str) -> None:
        """Report that a check passed."""
        self.found.append(Finding(self.probe, Severity.OK, what))

    def warn(self, what: str, fix: str) -> None:
        """Report a warning and how to fix it."""
        self.found.append(Finding(self.probe, Severity.WARN, what, fix))

    def fail(self, what: str, fix: str, *, starts_anyway: bool = False) -> None:
        """Report a failure and how to fix it; with `starts_anyway` services start in spite of it."""
        self.found.append(Finding(self.probe, Severity.FAIL, what, fix, starts_anyway or self.starts_anyway))


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the table of probes."""

    service: str
    findings: Sequence[Finding]

    @property
    def level(self) -> Severity:
        """The worst level of all."""
        return max((finding.level for finding in self.findings), default=Severity.OK)

    @property
    def starts(self) -> bool:
        """Whether a service can start now, if only to wait for a part."""
        return all(finding.starts_anyway for finding in self.findings if finding.level is Severity.FAIL)

    def to_json(self) -> str:
        """Return the report for scripts."""
        findings = [
            {"probe": each.probe, "level": each.level.name.lower(), "what": each.what, "fix": each.fix}
            for each in self.findings
        ]
        return json.dumps({"service": self.service, "level": self.level.name.lower(), "findings": findings}, indent=2)

    def print_to(self, console: Console) -> None:
        """Print a line for each finding, and below it how to fix it."""
        width = max((len(each.probe) for each in self.findings), default=0)
        for each in self.findings:
            line = Text(f"{each.level.name:<4}", style=_STYLES[each.level])
            line.append(f"  {each.probe:<{width}}  {each.what}", style="default")
            console.print(line, soft_wrap=True)
            if each.fix:
                console.print(Text(f"{'':<{width + 8}}→ {each.fix}"), soft_wrap=True)
        console.print(Text(self.summary(), style=_STYLES[self.level]))

    def summary(self) -> str:
        """Return the counts of failures and warnings as the last line."""
        failed, warned = (sum(f.level is level for f in self.findings) for level in (Severity.FAIL, Severity.WARN))
        if not failed and not warned:
            return f"{self.service}: no problems found."
        return f"{self.service}: failures: {failed}, warnings: {warned}."
