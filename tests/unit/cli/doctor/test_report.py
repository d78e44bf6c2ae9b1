"""What the doctor found, for people, for scripts and as exit code."""

import io
import json

import pytest
from rich.console import Console

from osteon.cli.doctor.report import Finding, Report, Severity

GOOD = Finding("disk", Severity.OK, "can be written")
ODD = Finding("broker", Severity.WARN, "3 messages are parked", "osteon dlq list")
BAD = Finding("database", Severity.FAIL, "no connection", "Start PostgreSQL.")


@pytest.mark.parametrize(
    ("findings", "code"),
    [([], 0), ([GOOD], 0), ([GOOD, ODD], 1), ([BAD, ODD, GOOD], 2)],
    ids=["none", "ok", "warn", "fail"],
)
def test_the_exit_code_is_that_of_the_worst_finding(findings: list[Finding], code: int) -> None:
    assert int(Report("cluster", findings).level) == code


def test_a_person_reads_level_part_and_remedy_and_a_summary() -> None:
    out = io.StringIO()
    Report("cluster", [GOOD, ODD, BAD]).print_to(Console(file=out, width=200))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0].split() == ["OK", "disk", "can", "be", "written"]
    assert "→ osteon dlq list" in lines[2]
    assert lines[-1] == "cluster: failures: 1, warnings: 1."


def test_a_script_reads_the_same() -> None:
    read = json.loads(Report("ingress", [GOOD, BAD]).to_json())
    assert (read["service"], read["level"]) == ("ingress", "fail")
    assert read["findings"][1] == {
        "probe": "database",
        "level": "fail",
        "what": "no connection",
        "fix": "Start PostgreSQL.",
    }
