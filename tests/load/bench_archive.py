"""One ZIP archive or medium of many gigabytes: time to the first byte, speed, and whether memory grows with its size.

    python tests/load/bench_archive.py --gigabytes 5 --servers standalone,cluster

The studies are sent first, a gigabyte at a time. Then archives are read, the smallest first: a server whose memory is
flat has as much of it after the last as after the first. Exit code 1 unless each is whole and memory stays within
`--growth` megabytes of what it was.
"""

import argparse
import http.client
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from contenders import STARTERS, BenchServer, deleted  # noqa: E402  (the folders above are not installed)

from support.dicom.instance_template import FRAME, InstanceTemplate  # noqa: E402
from support.load.process_usage import UsageWatch  # noqa: E402
from support.load.store_client import send  # noqa: E402

SLICES = 500
"""Of a study."""
STUDIES = 4
"""Of a gigabyte."""
_PIECE = 1 << 20
_END = b"PK\x05\x06"
"""Of the record that ends an archive (APPNOTE 4.3.16), 22 bytes before its end."""


@dataclass(frozen=True)
class MeasuredArchive:
    """One archive. Times in seconds, sizes in bytes; `anonymous` is the highest memory of each process."""

    size: int
    first_byte: float
    seconds: float
    cpu: float
    anonymous: dict[str, int]
    whole: bool

    def line(self, server: str, form: str) -> str:
        """Return everything in one line."""
        memories = ", ".join(f"{name} {used >> 20} MB" for name, used in self.anonymous.items())
        return (
            f"{server:10} {form:7} {self.size / 1e9:6.2f} GB, first byte {self.first_byte * 1e3:.0f} ms,"
            f" {self.size / 1e6 / self.seconds:.0f} MB/s, CPU {self.cpu / self.size * 1e9:.2f} s/GB; {memories}"
            f"{'' if self.whole else '; NOT WHOLE'}"
        )


def main() -> None:
    """Measure, print, and exit with 1 when an archive is broken or memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=int, default=5)
    parser.add_argument("--servers", type=lambda text: text.split(","), default=["standalone"])
    parser.add_argument("--forms", type=lambda text: text.split(","), default=["archive", "media"])
    parser.add_argument("--growth", type=int, default=160, help="megabytes that a process may grow by: its caches")
    parser.add_argument("--data", type=Path, help="folder for the servers' data")
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="osteon-bench-", dir=options.data) as disk:
        Path(disk).chmod(0o755)  # PostgreSQL may run as another user
        for name in options.servers:
            with deleted(Path(disk) / name) as data, STARTERS[name](data) as server:
                fill(server, Path(disk) / "sent", options.gigabytes)
                for form in options.forms:
                    good = compare(server, form, options.gigabytes, options.growth << 20) and good
    sys.exit(0 if good else 1)


def fill(server: BenchServer, folder: Path, gigabytes: int) -> None:
    """Send so many gigabytes, each of several studies."""
    template = InstanceTemplate(FRAME)
    for number in range(gigabytes):
        with deleted(folder) as sent:
            files = [template.save(sent / str(study), SLICES) for study in range(STUDIES)]
            send(files, server.ports, server.aet)
        server.wait_for((number + 1) * STUDIES * SLICES)


def compare(server: BenchServer, form: str, gigabytes: int, growth: int) -> bool:
    """Read an archive of one gigabyte, then one of all; returns whether both are whole and memory is flat."""
    studies = json.loads(_get(server, "/studies"))
    measured = [read(server, form, studies[: STUDIES * count]) for count in (1, gigabytes)]
    for one in measured:
        print(one.line(server.name, form), flush=True)
    small, large = measured
    grown = {name: large.anonymous[name] - small.anonymous[name] for name in server.processes}
    return all(one.whole for one in measured) and max(grown.values()) <= growth


def read(server: BenchServer, form: str, studies: list[str]) -> MeasuredArchive:
    """Read an archive of some studies to its end, and keep nothing of it."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=600)
    with UsageWatch(server.processes) as watch:
        began = time.perf_counter()
        connection.request("POST", f"/tools/create-{form}", json.dumps(studies))
        answer = connection.getresponse()
        piece = answer.read1(_PIECE)
        first = time.perf_counter() - began
        size, tail = 0, b""
        while piece:
            size += len(piece)
            tail = (tail + piece)[-22:] if len(piece) < len(tail) + 22 else piece[-22:]
            piece = answer.read1(_PIECE)
        seconds = time.perf_counter() - began
    connection.close()
    return MeasuredArchive(
        size=size,
        first_byte=first,
        seconds=seconds,
        cpu=sum(usage.cpu for usage in watch.usage.values()),
        anonymous={name: usage.anonymous for name, usage in watch.usage.items()},
        whole=answer.status == 200 and tail.startswith(_END) and size > len(studies) * SLICES * FRAME,
    )


def _get(server: BenchServer, path: str) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.request("GET", path)
    return connection.getresponse().read()


if __name__ == "__main__":
    main()
