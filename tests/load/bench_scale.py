"""What another replica brings: the cluster with one and two of `ingress`, `writer` and `indexer`, and what follows.

    python tests/load/bench_scale.py --docs

Each setting is a cluster of its own, which gets the same instances by the light client, its associations in turn over
the ports of the `ingress` replicas. From the CPU that each stage takes for an instance a simple model says what a
node carries; its assumptions are in the text that it prints.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from bench_ingest import IngestCase, in_memory, make, measure  # noqa: E402  (the folders above are not installed)
from contenders import cluster, deleted  # noqa: E402
from figures import Run, machine, replace_section  # noqa: E402

SWEPT = ("ingress", "writer", "indexer")
STAGES = (*SWEPT, "query", "rabbitmq", "postgres", "seaweedfs")
STUDY = 476
"""Instances of an average study: archives count 476 million files for a million studies."""
BUSY_HOUR = 0.12
"""Part of a day's studies that comes in its busiest hour."""
LOADED = 0.7
"""Part of the cores that may be used in that hour."""
NODES = (2, 4, 8, 16)


@dataclass(frozen=True)
class Setting:
    """How many replicas, and what was measured with them."""

    replicas: dict[str, int]
    runs: list[Run]

    @property
    def rate(self) -> float:
        """Instances a second until all were found."""
        return statistics.median(run.rate for run in self.runs)

    @property
    def answered(self) -> float:
        """Instances a second until all were answered."""
        return statistics.median(run.instances / run.answered for run in self.runs)

    @property
    def others(self) -> float:
        """Part of the machine that others used."""
        return statistics.median(run.others for run in self.runs)

    def cpu(self, stage: str) -> float:
        """Milliseconds of CPU an instance, of all replicas of a stage."""
        return statistics.median(
            run.cpu(*(name for name in run.usage if name.partition("-")[0] == stage)) for run in self.runs
        )

    @property
    def cores(self) -> float:
        """How many cores its processes kept busy."""
        return statistics.median(
            sum(usage.cpu for usage in run.usage.values()) / run.seconds + run.client_cpu / run.seconds
            for run in self.runs
        )


def main() -> None:
    """Sweep, print, and write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="8x0.5MB", help="as of bench_ingest.py")
    parser.add_argument("--instances", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="all eight settings instead of five")
    parser.add_argument("--docs", action="store_true", help="write the section of docs/performance.md")
    options = parser.parse_args()
    case = IngestCase.parse(options.case, options.instances)
    settings = [Setting(dict(zip(SWEPT, counts, strict=True)), []) for counts in sweep(options.all)]
    with tempfile.TemporaryDirectory(prefix="osteon-bench-", dir="/var/tmp") as disk, in_memory() as memory:
        Path(disk).chmod(0o755)  # PostgreSQL may run as another user
        for number in range(options.repeats):
            data = make(case, memory / str(number))
            for setting in settings:
                with deleted(Path(disk) / "cluster") as folder, cluster(folder, **setting.replicas) as server:
                    setting.runs.append(measure(server, case, data, None))
                print(f"{number + 1}/{options.repeats} {setting.replicas} {setting.runs[-1].line()}", flush=True)
    text = (
        f"{machine()}\n`python tests/load/bench_scale.py {' '.join(sys.argv[1:])}`: {case.name}.\n\n{report(settings)}"
    )
    print(f"\n{text}")
    if options.docs:
        replace_section("scale", text)


def sweep(everything: bool) -> list[tuple[int, ...]]:
    """Return numbers of replicas: one of each, two of one, two of each; or every combination."""
    found = itertools.product((1, 2), repeat=len(SWEPT))
    return [counts for counts in found if everything or sum(counts) != len(SWEPT) + 2]


def report(settings: Sequence[Setting]) -> str:
    """Return the sweep and the model as Markdown."""
    heads = [f"{' '.join(f'{n}' for n in s.replicas.values())}" for s in settings]
    lines = [
        "| " + " ".join(SWEPT) + " | found/s | answered/s | cores busy | others | " + " | ".join(STAGES) + " |",
        "|---|" + "--:|" * (4 + len(STAGES)),
    ]
    for head, setting in zip(heads, settings, strict=True):
        cpu = " | ".join(f"{setting.cpu(stage):.2f}" for stage in STAGES)
        lines.append(
            f"| {head} | {setting.rate:.0f} | {setting.answered:.0f} | {setting.cores:.2f} of {os.cpu_count()}"
            f" | {setting.others:.0%} | {cpu} |"
        )
    return "\n".join(lines) + "\n\nThe columns of the stages are CPU milliseconds an instance.\n\n" + model(settings[0])


def model(one: Setting) -> str:
    """Say what nodes carry, from what one replica of each needed."""
    costs = {stage: one.cpu(stage) for stage in STAGES}
    own = sum(cost for stage, cost in costs.items() if stage != "seaweedfs")
    limits = ", ".join(f"{stage} {1000 / cost:.0f}" for stage, cost in costs.items() if cost > 0.05)
    next_limit = max(SWEPT, key=costs.__getitem__)
    lines = [
        f"An instance takes {own:.2f} ms of CPU in Osteon, broker and database, and {costs['seaweedfs']:.2f} ms in"
        f" SeaweedFS. One core full of one stage alone would carry, in instances/s: {limits}. So"
        f" the first of Osteon's services to need a second replica is `{next_limit}`, once the machine has cores left.",
        "",
        "| cores | instances/s, all on one node | studies a day | instances/s, S3 elsewhere | studies a day |",
        "|--:|--:|--:|--:|--:|",
    ]
    for cores in NODES:
        cells = []
        for cost in (own + costs["seaweedfs"], own):
            rate = LOADED * cores * 1000 / cost
            cells.append(f"{rate:.0f} | {rate * 3600 / STUDY / BUSY_HOUR:,.0f}")
        lines.append(f"| {cores} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
