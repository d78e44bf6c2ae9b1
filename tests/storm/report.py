"""The table at the end of a storm."""

from collections import Counter
from collections.abc import Iterable, Sequence

from storm.plan import FaultKind
from storm.storm import Result

_LINES = 10
"""Violations of a kind that are shown."""


def table(results: Sequence[Result]) -> str:
    """Return the report as text: a column a run, then what was wrong."""
    heads = [f"{result.name} {result.seed}" for result in results]
    rows = [("", heads)]
    rows += [(f"faults: {kind}", [str(result.faults[kind]) for result in results]) for kind in FaultKind]
    rows += [
        ("sent", [str(r.ledger.sendings) for r in results]),
        ("acknowledged", [str(r.ledger.acknowledged) for r in results]),
        ("refused", [_statuses(r.ledger.statuses) for r in results]),
        ("no answer", [str(r.ledger.unanswered) for r in results]),
        ("verified", [str(r.verdict.verified) for r in results]),
        ("conflicts kept", [str(r.verdict.conflicts) for r in results]),
        ("lost", [str(len(r.verdict.lost)) for r in results]),
        ("duplicated", [str(len(r.verdict.duplicated)) for r in results]),
        ("invented", [str(len(r.verdict.invented)) for r in results]),
        ("dead letters", [str(len(r.verdict.parked)) for r in results]),
        ("left behind", [str(len(r.verdict.left)) for r in results]),
        ("failed", [str(len(r.failed)) for r in results]),
        ("recovery, mean s", [_mean(seconds for _, seconds in r.recoveries) for r in results]),
        ("recovery, most s", [_most(r.recoveries) for r in results]),
    ]
    widths = [max(len(row[1][n]) for row in rows) for n in range(len(results))]
    lines = [
        f"{name:18}" + "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        for name, cells in rows
    ]
    return "\n".join([*lines, *_wrong(results)])


def _wrong(results: Iterable[Result]) -> list[str]:
    lines = []
    for result in results:
        verdict = result.verdict
        for name in ("lost", "duplicated", "invented", "parked", "left"):
            found = getattr(verdict, name)
            lines += [f"{result.name} {result.seed}, {name}: {line}" for line in found[:_LINES]]
        lines += [f"{result.name} {result.seed}, {line}" for line in result.failed]
        lines += [f"{result.name} {result.seed}, skipped {n} x {line}" for line, n in result.skipped.items()]
    return lines


def _statuses(statuses: Counter[int]) -> str:
    refused = [f"{count} x 0x{status:04X}" for status, count in sorted(statuses.items()) if status]
    return " ".join(refused) or "0"


def _mean(values: Iterable[float]) -> str:
    seconds = list(values)
    return f"{sum(seconds) / len(seconds):.1f}" if seconds else "-"


def _most(recoveries: Sequence[tuple[str, float]]) -> str:
    if not recoveries:
        return "-"
    name, seconds = max(recoveries, key=lambda recovery: recovery[1])
    return f"{seconds:.1f} ({name})"
