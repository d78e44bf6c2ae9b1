"""Runs `osteon doctor` in the test's process."""

import os
from collections.abc import Iterable

import pytest

from osteon.cli.doctor.command import examine
from osteon.cli.doctor.report import Finding, Severity


def look(
    monkeypatch: pytest.MonkeyPatch, service: str, only: Iterable[str], *, seconds: float = 60.0, **settings: object
) -> list[Finding]:
    """Return what is found with these settings (`spool_id=...`) and no others."""
    for name in [name for name in os.environ if name.startswith("OSTEON_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(f"OSTEON_{name.upper()}", str(value))
    return list(examine(service, tuple(only), seconds)[0].findings)


def bad(findings: Iterable[Finding]) -> list[str]:
    """Return what is not in order, with its level and remedy."""
    return [f"{each.level.name} {each.what} → {each.fix}" for each in findings if each.level is not Severity.OK]
