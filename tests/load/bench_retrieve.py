"""C-GET and C-MOVE of a whole study beside Orthanc: the same study, the same requester, the same machine, in turns.

    python tests/load/bench_retrieve.py --case get-20kB,move-0.5MB@dcmtk --servers standalone,orthanc --repeats 3

A case is `get` or `move` and the size of the slices, with `@dcmtk` to ask by getscu or movescu instead of the light
requester (support/load/retrieve_client.py), or `@again` to ask twice and to measure the second time. All of them throw
away what comes; the destination of a C-MOVE is the requester itself. Each round starts each server anew and gives it a
study of each size; what is printed is the median of the rounds.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pydicom

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from bench_ingest import in_memory  # noqa: E402  (the folders above are not installed)
from contenders import NODELAY, STARTERS, BenchServer, started  # noqa: E402
from figures import Row, Run, machine, replace_section, rows  # noqa: E402

from osteon_local.part import free_port  # noqa: E402
from support.dicom.instance_template import InstanceTemplate  # noqa: E402
from support.load.process_usage import UsageWatch  # noqa: E402
from support.load.retrieve_client import CALLING, SINK, RetrieveResult, receive  # noqa: E402
from support.load.store_client import send  # noqa: E402

SIZES = {"0.5MB": 1 << 19, "20kB": 20_000}
CASES = [f"{how}-{size}{client}" for client in ("", "@again", "@dcmtk") for size in SIZES for how in ("get", "move")]


def main() -> None:
    """Run the comparison and print it."""
    options = _options()
    runs: list[Run] = []
    with in_memory() as memory, tempfile.TemporaryDirectory(prefix="osteon-bench-", dir=options.data) as disk:
        Path(disk).chmod(0o755)  # PostgreSQL may run as another user
        studies = {size: InstanceTemplate(SIZES[size]).save(memory / size, options.instances) for size in SIZES}
        for number in range(options.repeats):
            for name in options.servers:
                with started(name, Path(disk)) as server:
                    send(list(studies.values()), server.ports, server.aet)
                    server.wait_for(sum(map(len, studies.values())))
                    for case in options.case:
                        runs.append(measure(server, case, studies[parts(case)[1]]))
                        print(f"{number + 1}/{options.repeats} {runs[-1].line()}", flush=True)
    _report(runs, options.docs, " ".join(sys.argv[1:]))


def parts(case: str) -> tuple[str, str, str]:
    """Return get or move, the size of the slices, and the client: empty for the light one, or `again`."""
    what, _, client = case.partition("@")
    how, _, size = what.partition("-")
    return how, size, client


def measure(server: BenchServer, case: str, files: Sequence[Path]) -> Run:
    """Retrieve the study of these files once, or a second time."""
    study = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    how, _, client = parts(case)
    sink, load = free_port(), os.getloadavg()[0]
    for name, port in ((SINK, sink), (CALLING, free_port())):
        httpx.put(f"{server.url}/modalities/{name}", json=[name, "127.0.0.1", port]).raise_for_status()
    time.sleep(4)  # doors hear of modalities every three seconds
    ask = dcmtk if client == "dcmtk" else receive
    if client == "again":
        ask(how, server.ports[0], server.aet, [study], sink)
    os.sync()
    with UsageWatch(server.processes) as watch:
        received = ask(how, server.ports[0], server.aet, [study], sink)
    assert received.instances == len(files), f"{received.instances} of {len(files)} instances came"
    used = sum(usage.cpu for usage in watch.usage.values()) + received.cpu + watch.own
    return Run(
        case=case,
        server=server.name,
        instances=len(files),
        size=sum(path.stat().st_size for path in files),
        seconds=received.seconds,
        answered=received.seconds,
        latencies=[],
        client_cpu=received.cpu,
        usage=watch.usage,
        load=load,
        others=max(watch.busy - used, 0) / watch.seconds / (os.cpu_count() or 1),
    )


def dcmtk(how: str, port: int, aet: str, studies: Sequence[str], sink: int) -> RetrieveResult:
    """Ask by getscu or movescu, which counts what it receives and keeps nothing."""
    own = ["getscu"] if how == "get" else ["movescu", "-aem", SINK, "+P", str(sink)]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={studies[0]}"]
    command = [*own, "--ignore", "-v", "-S", "-aet", CALLING, "-aec", aet, *keys, "127.0.0.1", str(port)]
    began, before = time.perf_counter(), _of_children()
    done = subprocess.run(command, env=NODELAY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    seconds = time.perf_counter() - began
    came = (done.stdout + done.stderr).count("Received Store Request" if how == "move" else "Received C-STORE Request")
    return RetrieveResult(seconds, _of_children() - before, came, 0)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that have ended, so not of the servers
    return used.ru_utime + used.ru_stime


def _report(runs: Sequence[Run], docs: bool, arguments: str) -> None:
    found = rows(runs)
    rounds = len(runs) // len(found)
    text = (
        f"{machine()}\n`python tests/load/bench_retrieve.py {arguments}`: studies of {runs[0].instances} slices,"
        f" medians of {rounds} rounds, whose rates were at most {max(row.spread for row in found):.2f}"
        f" apart (highest over lowest). All other processes together used"
        f" {statistics.median(run.others for run in runs):.0%} of the machine.\n\n{_table(found)}"
    )
    print(f"\n{text}")
    if docs:
        replace_section("retrieve", text)


def _table(found: Sequence[Row]) -> str:
    head = (
        "| case | server | instances/s | MB/s | ratio | CPU ms: own | S3 | requester | peak MB |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    return head + "\n".join(
        f"| {r.case} | {r.server} | {r.rate:.0f} | {r.megabytes:.0f} | {f'{r.ratio:.2f}' if r.ratio else '-'}"
        f" | {r.own:.2f} | {f'{r.s3:.2f}' if r.s3 else '-'} | {r.client:.2f} | {r.peak:.0f} |"
        for r in found
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--case", type=lambda text: text.split(","), default=CASES, help="such as get-20kB,move-0.5MB@dcmtk"
    )
    parser.add_argument("--servers", type=lambda text: text.split(","), default=list(STARTERS))
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--instances", type=int, default=1000, help="of the study")
    parser.add_argument("--data", type=Path, default="/var/tmp", help="where the servers keep their data")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    if unknown := set(options.case) - set(CASES):
        parser.error(f"{sorted(unknown)}: no such case")
    if "orthanc" in options.servers and not shutil.which("Orthanc"):
        print("Orthanc is not installed (apt-get install orthanc): it is left out")
        options.servers.remove("orthanc")
    return options


if __name__ == "__main__":
    main()
