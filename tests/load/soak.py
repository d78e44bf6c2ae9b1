"""Whether memory stays flat under steady ingest of ever new patients, studies and series.

    python tests/load/soak.py --servers standalone,cluster --instances 200000

Each service's anonymous memory (RssAnon of proc(5), children included) is sampled every few seconds while small
instances arrive. The mean of the samples in the third quarter of the instances is compared with that of the fourth; a
service whose means are further apart than 3 % fails, and the exit code is 1.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from bench_ingest import in_memory  # noqa: E402  (the folders above are not installed)
from contenders import PARTS, BenchServer, started  # noqa: E402

from support.dicom.instance_template import InstanceTemplate  # noqa: E402
from support.load.process_usage import memory  # noqa: E402
from support.load.store_client import send  # noqa: E402

ASSOCIATIONS = 4
SERIES = 10
"""Of an association, each of a study and a patient of its own."""
IN_SERIES = 25
WAVE = ASSOCIATIONS * SERIES * IN_SERIES
BEHIND = 4
"""Waves that may not be found yet while the next one is sent."""
LEEWAY = 0.03
SAMPLE_SECONDS = 2.0
ROWS = 20
_NAME = b"CompressedSamples^CT1"
"""Patient's Name (0010,0010) of the template."""


@dataclass(frozen=True)
class MemorySample:
    """Bytes of anonymous memory of each service when so many instances had been sent."""

    instances: int
    anonymous: Mapping[str, int]


class MemoryWatch:
    """Samples services for a `with` block, while the caller counts in `sent`."""

    def __init__(self, services: Mapping[str, int]) -> None:
        self.sent = 0
        self.samples: list[MemorySample] = []
        self._services = services
        self._end = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            now = {name: memory(pid, "RssAnon") for name, pid in self._services.items()}
            self.samples.append(MemorySample(self.sent, now))


def main() -> int:
    """Run the soak and print it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=lambda text: text.split(","), default=["standalone"])
    parser.add_argument("--instances", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=8_000, help="bytes of an instance, at least 7000")
    parser.add_argument("--seconds", type=float, default=3600, help="then what has been sent is judged")
    parser.add_argument("--data", type=Path, help="folder for the archives' data")
    options = parser.parse_args()
    flat = True
    with tempfile.TemporaryDirectory(prefix="osteon-soak-", dir=options.data) as disk:
        Path(disk).chmod(0o755)  # PostgreSQL may run as another user
        for name in options.servers:
            with started(name, Path(disk)) as server:
                samples = soak(server, InstanceTemplate(options.size), options.instances, options.seconds)
            flat = report(name, samples) and flat
    return 0 if flat else 1


def soak(server: BenchServer, template: InstanceTemplate, instances: int, seconds: float) -> list[MemorySample]:
    """Send waves of instances until there are so many or the time is over; returns what was sampled meanwhile."""
    services = {name: pid for name, pid in server.processes.items() if name not in PARTS}
    ends = threading.Event()
    timer = threading.Timer(seconds, ends.set)
    timer.daemon = True
    timer.start()
    with MemoryWatch(services) as watch:
        while watch.sent < instances and not ends.is_set():
            with wave(template) as associations:
                send(associations, server.ports, server.aet)
            watch.sent += WAVE
            server.wait_for(watch.sent - BEHIND * WAVE)
            print(f"\r{server.name}: {watch.sent} instances", end="", file=sys.stderr, flush=True)
        server.wait_for(watch.sent)
    timer.cancel()
    print(file=sys.stderr)
    return watch.samples


@contextmanager
def wave(template: InstanceTemplate) -> Iterator[list[list[Path]]]:
    """Make the files of each association's series, and delete them afterwards."""
    with in_memory() as folder:
        associations: list[list[Path]] = [[] for _ in range(ASSOCIATIONS)]
        for paths in associations:
            for _ in range(SERIES):
                name = f"{random.getrandbits(80):020X}^".encode()
                for sop, parts in template.series(IN_SERIES):
                    paths.append(folder / sop)
                    paths[-1].write_bytes(b"".join(parts).replace(_NAME, name))
        yield associations


def report(server: str, samples: Sequence[MemorySample]) -> bool:
    """Print memory over time and the comparison of the last two quarters; returns whether all services are flat."""
    total = samples[-1].instances
    names = list(samples[-1].anonymous)
    print(f"\n{server}: {total} instances; anonymous memory in MB, means over each twentieth of the instances\n")
    print("| instances |", " | ".join(names), "|")
    print("|---:|" + "---:|" * len(names))
    for row in range(ROWS):
        part = within(samples, row / ROWS, (row + 1) / ROWS)
        if part:
            cells = " | ".join(f"{average(part, name) / 1e6:.1f}" for name in names)
            print(f"| {part[-1].instances} | {cells} |")
    third, fourth = within(samples, 0.5, 0.75), within(samples, 0.75, 1.0)
    flat = True
    print("\nmean of the third quarter → of the fourth")
    for name in names:
        before, after = average(third, name), average(fourth, name)
        within_leeway = abs(after / before - 1) <= LEEWAY
        flat = flat and within_leeway
        grown = f"{before / 1e6:.1f} → {after / 1e6:.1f} MB ({after / before - 1:+.1%})"
        print(f"{name}: {grown}{'' if within_leeway else f': not within {LEEWAY:.0%}'}")
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    return flat


def within(samples: Sequence[MemorySample], begin: float, end: float) -> list[MemorySample]:
    """Return the samples of a part of the instances, as fractions of all that were sent."""
    total = samples[-1].instances
    return [sample for sample in samples if begin * total < sample.instances <= end * total]


def average(samples: Sequence[MemorySample], name: str) -> float:
    """Return the mean memory of a service in bytes; raises `StatisticsError` without samples."""
    return mean(sample.anonymous[name] for sample in samples)


if __name__ == "__main__":
    sys.exit(main())
