"""Probes run side by side; what hangs or breaks in one does not touch the others."""

import threading

from osteon.cli.doctor.report import Findings, Severity
from osteon.cli.doctor.runner import Probe, run
from osteon.errors import OsteonError
from osteon.settings import ProcessSettings


def probe(name: str, look: object) -> Probe[ProcessSettings]:
    return Probe(name, "", ProcessSettings, look)  # type: ignore[arg-type]


def test_findings_come_in_the_order_of_the_table() -> None:
    first_may_end = threading.Event()

    def first(_: ProcessSettings, findings: Findings) -> None:
        first_may_end.wait(30)
        findings.ok("first")

    def second(_: ProcessSettings, findings: Findings) -> None:
        findings.ok("second")
        first_may_end.set()

    found, hanging = run([probe("a", first), probe("b", second)], ProcessSettings(), seconds=60)
    assert ([each.what for each in found], hanging) == (["first", "second"], False)


def test_a_probe_that_hangs_is_left_behind_with_what_it_found_and_what_it_did() -> None:
    never = threading.Event()

    def hang(_: ProcessSettings, findings: Findings) -> None:
        findings.ok("reachable")
        findings.doing = "asking for a bucket"
        never.wait()

    def work(_: ProcessSettings, findings: Findings) -> None:
        findings.ok("fine")

    found, hanging = run([probe("objects", hang), probe("disk", work)], ProcessSettings(), seconds=0.3)
    never.set()
    assert hanging
    assert [each.what for each in found] == ["reachable", "no answer within 0.3 s while asking for a bucket", "fine"]
    assert found[1].level is Severity.FAIL


def test_an_error_of_osteon_is_a_failure_and_a_defect_is_called_one() -> None:
    def refuse(_: ProcessSettings, findings: Findings) -> None:
        raise OsteonError("the database URL cannot be read")

    def break_down(_: ProcessSettings, findings: Findings) -> None:
        findings.doing = "counting"
        raise ZeroDivisionError("by zero")

    found, _ = run([probe("database", refuse), probe("host", break_down)], ProcessSettings(), seconds=30)
    assert [each.level for each in found] == [Severity.FAIL, Severity.FAIL]
    assert found[0].what == "the database URL cannot be read"
    assert "this probe failed while counting: ZeroDivisionError" in found[1].what
