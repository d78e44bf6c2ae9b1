"""What was measured, as lines, as a table and as a plot; and where docs/performance.md takes them."""

import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contenders import PARTS
from plot import bars

from support.load.process_usage import ProcessUsage

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
PEER = "orthanc"


@dataclass(frozen=True)
class Run:
    """One case on one server. Sizes in bytes, times in seconds; `others` is the part of the machine others used."""

    case: str
    server: str
    instances: int
    size: int
    seconds: float
    answered: float
    latencies: list[float]
    client_cpu: float
    usage: dict[str, ProcessUsage]
    load: float
    others: float

    @property
    def rate(self) -> float:
        """Instances a second until all were found."""
        return self.instances / self.seconds

    def milliseconds(self, part: float) -> float:
        """Return the time below which that part of the C-STOREs was answered; 0 when it is not known."""
        if not self.latencies:
            return 0.0
        return self.latencies[min(int(part * len(self.latencies)), len(self.latencies) - 1)] * 1e3

    def cpu(self, *names: str) -> float:
        """Return milliseconds of CPU an instance, of some processes."""
        return sum(self.usage[name].cpu for name in names) * 1e3 / self.instances

    @property
    def own(self) -> list[str]:
        """The processes that the server is made of, all but the S3 server."""
        return [name for name in self.usage if name != "seaweedfs"]

    @property
    def services(self) -> list[str]:
        """The same without broker and database."""
        return [name for name in self.usage if name not in PARTS]

    def line(self) -> str:
        """Return everything in one line."""
        cpu = " ".join(f"{name} {self.cpu(name):.2f}" for name in self.usage)
        memory = " ".join(f"{n} {u.peak >> 20}/{u.anonymous >> 20}" for n, u in self.usage.items())
        return (
            f"{self.case:13} {self.server:10} {self.rate:7.1f}/s {self.size / self.seconds / 1e6:6.1f} MB/s"
            f" (answered {self.instances / self.answered:.1f}/s) p50 {self.milliseconds(0.5):.1f}"
            f" p99 {self.milliseconds(0.99):.1f} ms | CPU ms an instance: {cpu}, client"
            f" {self.client_cpu / self.instances * 1e3:.2f} | peak/anonymous MB: {memory}"
            f" | load {self.load:.1f}, others {self.others:.0%}"
        )


@dataclass(frozen=True)
class Row:
    """The medians of a case on a server."""

    case: str
    server: str
    rate: float
    megabytes: float
    ratio: float
    p50: float
    p99: float
    own: float
    s3: float
    client: float
    peak: float
    anonymous: float
    spread: float
    """Highest rate over lowest."""


def rows(runs: Sequence[Run]) -> list[Row]:
    """Return medians in the order of the runs; without a run of the peer, ratios are 0."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.case, run.server), []).append(run)
    rates = {key: statistics.median(run.rate for run in group) for key, group in groups.items()}
    made = []
    for (case, server), group in sorted(groups.items(), key=lambda item: _order(runs, item[0])):
        peer = rates.get((case, PEER), 0)
        middle = {
            "megabytes": [run.size / run.seconds / 1e6 for run in group],
            "p50": [run.milliseconds(0.5) for run in group],
            "p99": [run.milliseconds(0.99) for run in group],
            "own": [run.cpu(*run.own) for run in group],
            "s3": [run.cpu(*(name for name in run.usage if name == "seaweedfs")) for run in group],
            "client": [run.client_cpu * 1e3 / run.instances for run in group],
            "peak": [sum(run.usage[name].peak for name in run.services) / 1e6 for run in group],
            "anonymous": [sum(run.usage[name].anonymous for name in run.services) / 1e6 for run in group],
        }
        medians = {name: statistics.median(values) for name, values in middle.items()}
        rate = rates[case, server]
        spread = max(run.rate for run in group) / min(run.rate for run in group)
        made.append(Row(case, server, rate, ratio=rate / peer if peer else 0, spread=spread, **medians))
    return made


def _order(runs: Sequence[Run], key: tuple[str, str]) -> tuple[int, int]:
    cases, servers = [
        list(dict.fromkeys(values)) for values in zip(*((run.case, run.server) for run in runs), strict=True)
    ]
    return cases.index(key[0]), servers.index(key[1])


def table(found: Sequence[Row]) -> str:
    """Return the medians as Markdown."""
    head = (
        "| case | server | instances/s | MB/s | ratio | p50 ms | p99 ms "
        "| CPU ms: own | S3 | client | peak MB | anonymous MB |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    return head + "\n".join(
        f"| {r.case} | {r.server} | {r.rate:.{1 if r.rate < 10 else 0}f} | {r.megabytes:.0f} | {_or_dash(r.ratio, 2)}"
        f" | {_or_dash(r.p50, 1)} | {_or_dash(r.p99, 1)} | {r.own:.2f} | {_or_dash(r.s3, 2)} | {r.client:.2f}"
        f" | {r.peak:.0f} | {r.anonymous:.0f} |"
        for r in found
    )


def processes(runs: Sequence[Run]) -> str:
    """Return CPU of each process of the cluster as Markdown; nothing when it was not measured."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.server == "cluster":
            groups.setdefault(run.case, []).append(run)
    if not groups:
        return ""
    names = list(next(iter(groups.values()))[0].usage)
    lines = ["| case | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for case, group in groups.items():
        values = [f"{statistics.median(run.cpu(name) for run in group):.2f}" for name in names]
        lines.append(f"| {case} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def write_report(runs: Sequence[Run], stored: Mapping[str, Sequence[float]], docs: bool, arguments: str) -> None:
    """Print the medians; with `docs` write them into the page, and the plot beside it."""
    found = rows(runs)
    rounds = max(sum((r.case, r.server) == (row.case, row.server) for r in runs) for row in found)
    busiest = statistics.median(run.others for run in runs)
    text = "\n\n".join(part for part in (
        f"{machine()}\n`python tests/load/bench_ingest.py {arguments}`: medians of {rounds} rounds, whose rates were"
        f" at most {max(row.spread for row in found):.2f} apart (highest over lowest). All other processes"
        f" together used {busiest:.0%} of the machine.",
        table(found),
        "CPU milliseconds an instance of each process of the cluster:" if processes(runs) else "",
        processes(runs),
        "Bytes an instance: " + "; ".join(
            f"{name}: database {database:.0f}" + (f", sidecars {sidecars:.0f}" if sidecars else "")
            for name, (database, sidecars) in stored.items()) + ".",
    ) if part)  # fmt: skip
    print(f"\n{text}")
    if docs:
        replace_section("ingest", text)
        light = [row for row in found if "@" not in row.case and row.case.endswith(("0.5MB", "20kB"))]
        PLOT.write_text(bars("Instances a second until all are found", [(r.case, r.server, r.rate) for r in light]))


def machine() -> str:
    """Return what it was measured on, without the machine's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {platform.release().partition('-')[0]},"
        f" Python {platform.python_version()}; commit {commit.stdout.strip() or 'unknown'}."
    )


def replace_section(name: str, text: str) -> None:
    """Put text between the marks `<!-- NAME: begin -->` and `<!-- NAME: end -->` of the page."""
    page = PAGE.read_text()
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"{PAGE} has no marks {begin} and {end}"
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def _or_dash(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value else "-"
