"""Ingest beside Orthanc: the same instances, the same clients, the same machine, in turns (A B C, A B C, ...).

    python tests/load/bench_ingest.py --case 4x0.5MB --servers standalone,orthanc --instances 800 --repeats 3

A case is ASSOCIATIONSxSIZE, with `@dcmtk` to send by storescu instead of the light client
(support/load/store_client.py). The clock runs from the first C-STORE until REST counts every instance. Each round
starts each server anew and gives it the same instances; what is printed is the median of the rounds.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from contenders import NODELAY, STARTERS, BenchServer, started  # noqa: E402  (the folders above are not installed)
from figures import Run, write_report  # noqa: E402

from support.dicom.instance_template import InstanceTemplate  # noqa: E402
from support.load.process_usage import UsageWatch  # noqa: E402
from support.load.store_client import StoreResult, send  # noqa: E402

CASES = "1x0.5MB 4x0.5MB 16x0.5MB 64x0.5MB 1x20kB 4x20kB 16x20kB 64x20kB 1x0.5MB@dcmtk 4x0.5MB@dcmtk 1x500MB"
QUICK = "1x0.5MB 4x0.5MB 4x20kB"
UNITS = {"kB": 1 << 10, "MB": 1 << 20}


@dataclass(frozen=True)
class IngestCase:
    """What is sent, and how."""

    name: str
    associations: int
    size: int
    light: bool
    instances: int

    @classmethod
    def parse(cls, text: str, instances: int) -> "IngestCase":
        """Read `4x0.5MB` or `4x0.5MB@dcmtk`; 0 instances are as many as take some seconds."""
        match = re.fullmatch(r"(\d+)x([\d.]+)(kB|MB)(@dcmtk)?", text)
        if not match:
            raise argparse.ArgumentTypeError(f"{text!r} is no case: expected such as 4x0.5MB or 4x0.5MB@dcmtk")
        associations, size = int(match[1]), int(float(match[2]) * UNITS[match[3]])
        usual = 1 if size > 8e6 else 640 if size > 1e5 else 1280
        each = max((instances if size <= 8e6 and instances else usual) // associations, 1)
        return cls(text, associations, size, not match[4], each * associations)


def main() -> None:
    """Run the comparison and print it."""
    options = _options()
    cases = [IngestCase.parse(text, options.instances) for text in options.case]
    runs: list[Run] = []
    sizes: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="osteon-bench-", dir=options.data) as disk:
        Path(disk).chmod(0o755)  # PostgreSQL may run as another user
        for number in range(options.repeats):
            with in_memory() as memory:
                data = {case: make(case, memory / case.name) for case in cases}
                for name in options.servers:
                    with started(name, Path(disk)) as server:
                        before, empty = server.instances(), server.stored()
                        for case in cases:
                            runs.append(measure(server, case, data[case], options.profile))
                            print(f"{number + 1}/{options.repeats} {runs[-1].line()}", flush=True)
                        count = server.instances() - before
                        grown = [after - first for after, first in zip(server.stored(), empty, strict=True)]
                        sizes.setdefault(name, []).append((grown[0] / count, grown[1] / count))
    stored = {name: tuple(map(statistics.median, zip(*all_sizes, strict=True))) for name, all_sizes in sizes.items()}
    write_report(runs, stored, options.docs, " ".join(sys.argv[1:]))
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=1))


def make(case: IngestCase, folder: Path) -> list[list[Path]]:
    """Write a series for each association."""
    template = InstanceTemplate(case.size)
    each = case.instances // case.associations
    return [template.save(folder / str(number), each) for number in range(case.associations)]


def measure(server: BenchServer, case: IngestCase, data: Sequence[Sequence[Path]], profile: Path | None) -> Run:
    """Send a case and wait until it is found."""
    before, load = server.instances(), os.getloadavg()[0]
    sender = send if case.light else dcmtk
    os.sync()  # what the server before left to be written must not slow this one down
    with _profiled(server, case, profile), UsageWatch(server.processes) as watch:
        sent = sender(data, server.ports, server.aet)
        found = server.wait_for(before + case.instances)
    size = sum(path.stat().st_size for paths in data for path in paths)
    used = sum(usage.cpu for usage in watch.usage.values()) + sent.cpu + watch.own
    return Run(
        case=case.name,
        server=server.name,
        instances=case.instances,
        size=size,
        seconds=found - sent.began,
        answered=sent.ended - sent.began,
        latencies=sorted(sent.latencies),
        client_cpu=sent.cpu,
        usage=watch.usage,
        load=load,
        others=max(watch.busy - used, 0) / watch.seconds / (os.cpu_count() or 1),
    )


def dcmtk(associations: Sequence[Sequence[Path]], ports: Sequence[int], aet: str) -> StoreResult:
    """Send by a storescu for each association; latencies of single instances are not known."""
    began, before = time.perf_counter(), _of_children()
    clients = []
    for number, paths in enumerate(associations):
        address = ["127.0.0.1", str(ports[number % len(ports)])]
        log = paths[0].parent.with_suffix(".log")
        with log.open("wb") as output:
            command = ["storescu", "-v", "-aec", aet, *address, "+sd", str(paths[0].parent)]
            clients.append((subprocess.Popen(command, env=NODELAY, stdout=output, stderr=output), log, len(paths)))
    for client, log, count in clients:
        assert client.wait() == 0, log.read_text()
        assert log.read_text().count("Received Store Response (Success)") == count, log.read_text()
    return StoreResult(began, time.perf_counter(), _of_children() - before)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that have ended, so not of the servers
    return used.ru_utime + used.ru_stime


@contextmanager
def in_memory() -> Iterator[Path]:
    """Make a folder for what is sent: reading it must not use the disk that the servers write to."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and shutil.disk_usage(memory).free > 6 << 30
    with tempfile.TemporaryDirectory(prefix="osteon-bench-", dir=memory if usable else None) as folder:
        yield Path(folder)


@contextmanager
def _profiled(server: BenchServer, case: IngestCase, folder: Path | None) -> Iterator[None]:
    """Record Osteon's processes by py-spy, as flame graphs in a folder."""
    if not folder or server.name == "orthanc":
        yield
        return
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, "--profile needs py-spy: .venv/bin/uv pip install py-spy"
    folder.mkdir(parents=True, exist_ok=True)
    recorders = [
        subprocess.Popen(
            [program, "record", "--native", "--pid", str(pid), "-o", str(folder / f"{case.name}-{name}.svg")],
            stdout=subprocess.DEVNULL,
        )
        for name, pid in _services(server).items()
    ]
    time.sleep(1)  # it takes a while to attach
    yield
    for recorder in recorders:
        recorder.send_signal(2)
        recorder.wait(60)


def _services(server: BenchServer) -> Mapping[str, int]:
    return {name: pid for name, pid in server.processes.items() if name not in ("rabbitmq", "postgres", "seaweedfs")}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=lambda text: text.split(","), default=None, help="such as 4x0.5MB")
    parser.add_argument("--servers", type=lambda text: text.split(","), default=list(STARTERS))
    parser.add_argument("--repeats", type=int, default=0, help="rounds; 3 unless told")
    parser.add_argument("--instances", type=int, default=0, help="of each case, instead of the usual number")
    parser.add_argument("--quick", action="store_true", help="few cases, fewer instances, one round")
    parser.add_argument("--data", type=Path, default="/var/tmp", help="where the servers keep their data")
    parser.add_argument("--json", type=Path, help="write every run there")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md and its plot")
    parser.add_argument("--profile", type=Path, help="write flame graphs of Osteon's processes there (py-spy)")
    options = parser.parse_args()
    options.case = options.case or (QUICK if options.quick else CASES).split()
    options.repeats = options.repeats or (1 if options.quick else 3)
    options.instances = options.instances or (320 if options.quick else 0)
    if "orthanc" in options.servers and not shutil.which("Orthanc"):
        print("Orthanc is not installed (apt-get install orthanc): it is left out")
        options.servers.remove("orthanc")
    return options


if __name__ == "__main__":
    main()
