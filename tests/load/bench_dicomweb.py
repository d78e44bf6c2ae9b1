"""Search, metadata, retrieval and pictures by HTTP beside Orthanc and its DICOMweb plugin, one request after the other.

    python tests/load/bench_dicomweb.py --case metadata-100,qido-1000 --servers standalone,orthanc

Both servers hold the same slices and get the same URLs. A case is asked *cold* first, each resource for the first time
since the server started, and then again and again, *cached*. What the operating system keeps of files is warm in both.

Pictures are of real images of four modalities: files that pydicom brings, and those of a folder of real data
(`OSTEON_TEST_DATA`) where there is one. Each file is sent several times, with other UIDs.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import cycle
from pathlib import Path

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "load"), str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from bench_ingest import in_memory  # noqa: E402  (the folders above are not installed)
from contenders import STARTERS, BenchServer, deleted, orthanc  # noqa: E402
from figures import PEER, machine, replace_section  # noqa: E402

from osteon.dicom.identity import public_id  # noqa: E402
from support.dicom.instance_template import FRAME, InstanceTemplate  # noqa: E402
from support.dicom.real_files import BUNDLED, REAL  # noqa: E402
from support.load.process_usage import UsageWatch  # noqa: E402
from support.load.store_client import send  # noqa: E402

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SERIES, SLICES, MANY, FRAMES = 4, 100, 1000, 60
MODALITIES = ("CT", "MR", "CR", "US")
COPIES = 20
"""Instances of each modality, of all its files in turn."""
LEAST = 5
"""Requests of a case at least."""
JSON, PNG, JPEG = "application/dicom+json", "image/png", "image/jpeg"
MULTIPART = 'multipart/related; type="{}"'
Check = Callable[[bytes], bool]


@dataclass(frozen=True)
class DicomwebCase:
    """What is asked: the URLs of resources of one kind, what is accepted, and how to see that it came."""

    paths: Sequence[str]
    accept: str
    right: Check


@dataclass(frozen=True)
class DicomwebStudy:
    """What was sent: the DICOMweb paths of series by kind, and of instances with their Orthanc identifiers."""

    files: Sequence[Sequence[Path]]
    slices: Sequence[str]
    many: str
    images: Mapping[str, Sequence[tuple[str, str]]]
    frames: str


@dataclass(frozen=True)
class Measured:
    """One case on one server, cold or cached. Times in seconds, CPU of all its processes; `size` is a body's."""

    case: str
    cached: bool
    server: str
    latencies: Sequence[float]
    cpu: float
    size: int
    others: float
    refused: str = ""

    def milliseconds(self, part: float) -> float:
        """Return the time within which that part of the requests was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] * 1e3

    @property
    def cpu_ms(self) -> float:
        """CPU a request, in milliseconds."""
        return self.cpu * 1e3 / len(self.latencies)

    def line(self) -> str:
        """Return everything in one line."""
        kind = "cached" if self.cached else "cold"
        return (
            f"{self.case:18} {kind:6} {self.server:10} p50 {self.milliseconds(0.5):7.2f} p99"
            f" {self.milliseconds(0.99):7.2f} ms, CPU {self.cpu_ms:6.2f} ms, {self.size / 1e3:.1f} kB,"
            f" {len(self.latencies)} requests, others {self.others:.0%}"
        )


def _dicomweb(study: DicomwebStudy, modality: str, below: str) -> list[str]:
    return [web + below for web, _ in study.images[modality]]


def _rest(study: DicomwebStudy, modality: str, below: str) -> list[str]:
    return [f"/instances/{identifier}/{below}" for _, identifier in study.images[modality]]


def _holds(count: int) -> Check:
    return lambda body: len(json.loads(body)) == count


def _longer(size: int) -> Check:
    return lambda body: len(body) > size


def _png(body: bytes) -> bool:
    return body.startswith(b"\x89PNG")


def _jpeg(body: bytes) -> bool:
    return body.startswith(b"\xff\xd8")


_INSTANCES = MULTIPART.format("application/dicom") + "; transfer-syntax=*"
_RAW = MULTIPART.format("application/octet-stream")
CASES: dict[str, Callable[[DicomwebStudy], DicomwebCase]] = {
    "qido-100": lambda s: DicomwebCase([f"{one}/instances" for one in s.slices], JSON, _holds(SLICES)),
    "qido-1000": lambda s: DicomwebCase([f"{s.many}/instances"], JSON, _holds(MANY)),
    "metadata-100": lambda s: DicomwebCase([f"{one}/metadata" for one in s.slices], JSON, _holds(SLICES)),
    "series-100": lambda s: DicomwebCase(s.slices, _INSTANCES, _longer(SLICES * FRAME)),
    "frame-1": lambda s: DicomwebCase([f"{s.frames}/frames/{n}" for n in range(1, FRAMES + 1)], _RAW, _longer(FRAME)),
    "frames-10": lambda s: DicomwebCase(
        [f"{s.frames}/frames/{_ten(n)}" for n in range(1, 51, 5)], _RAW, _longer(10 * FRAME)
    ),
}


def _picture_cases(modality: str) -> Iterator[tuple[str, Callable[[DicomwebStudy], DicomwebCase]]]:
    """Yield the cases of one modality by name; colours have no `image-uint16`."""
    rest = ("preview", "rendered") if modality == "US" else ("preview", "image-uint16", "rendered")
    for below in rest:
        yield f"{modality}-{below}", partial(_picture_case, partial(_rest, modality=modality, below=below), PNG, _png)
    for below in ("rendered", "thumbnail"):
        paths = partial(_dicomweb, modality=modality, below=f"/{below}")
        yield f"{modality}-wado-{below}", partial(_picture_case, paths, JPEG, _jpeg)


def _picture_case(
    paths: Callable[[DicomwebStudy], list[str]], accept: str, right: Check, study: DicomwebStudy
) -> DicomwebCase:
    return DicomwebCase(paths(study), accept, right)


CASES |= dict(case for modality in MODALITIES for case in _picture_cases(modality))


def _ten(first: int) -> str:
    return ",".join(str(number) for number in range(first, first + 10))


def main() -> None:
    """Run the comparison and print it."""
    options = _options()
    starters = {**STARTERS, PEER: partial(orthanc, plugins=[str(PLUGIN)])}
    found: list[Measured] = []
    with in_memory() as memory, tempfile.TemporaryDirectory(prefix="osteon-bench-", dir=options.data) as disk:
        Path(disk).chmod(0o755)  # PostgreSQL may run as another user
        study = make(memory)
        for name in options.servers:
            with deleted(Path(disk) / name) as data, starters[name](data) as server:
                send(study.files, server.ports, server.aet)
                server.wait_for(sum(map(len, study.files)))
                os.sync()
                for case in options.case:
                    if case.partition("-")[0] in set(MODALITIES) - set(study.images):
                        print(f"{case:18} no real image of this modality here", flush=True)
                        continue
                    found += measure(server, case, CASES[case](study), options.seconds)
    _report(found, options.docs, " ".join(sys.argv[1:]))


def make(folder: Path) -> DicomwebStudy:
    """Make the slices, and copies of real images."""
    half, small = InstanceTemplate(FRAME), InstanceTemplate(20_000)
    series = [half.save(folder / f"half-{number}", SLICES) for number in range(SERIES)]
    many = small.save(folder / "many", MANY)
    movie = InstanceTemplate(FRAME * FRAMES).save(folder / "movie", 1)
    images = {modality: real_images(folder / modality, modality) for modality in MODALITIES}
    return DicomwebStudy(
        files=[*series, many, movie, *(alike for files in images.values() for alike in _by_kind(files))],
        slices=[_ids(files[0])[0].rpartition("/instances")[0] for files in series],
        many=_ids(many[0])[0].rpartition("/instances")[0],
        images={modality: [_ids(path) for path in files] for modality, files in images.items() if files},
        frames=_ids(movie[0])[0],
    )


def real_images(folder: Path, modality: str) -> list[Path]:
    """Write copies of the real images of a modality that need no codec, each with UIDs of its own."""
    folder.mkdir()
    sources = [found for path in _real_files() if (found := _image(path, modality))]
    paths = []
    for number, dataset in zip(range(COPIES if sources else 0), cycle(sources), strict=False):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.PatientID = f"BENCH-{modality}-{number}"
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _by_kind(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the files of each SOP Class and transfer syntax: an association is of one."""
    kinds: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
        kinds.setdefault((meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID), []).append(path)
    yield from kinds.values()


def _real_files() -> list[Path]:
    """Return one slice of a series, and the references that others are compared with."""
    more = [*sorted((REAL / "codecs" / "REF").glob("*")), *sorted((REAL / "ct").rglob("I10"))]
    return more or sorted(BUNDLED.glob("*.dcm"))


def _image(path: Path, modality: str) -> pydicom.Dataset | None:
    """Return a file when it is a native image of that modality."""
    dataset = pydicom.dcmread(BytesIO(path.read_bytes()), force=True)
    native = dataset.file_meta.get("TransferSyntaxUID") in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    return dataset if native and dataset.get("Modality") == modality and "PixelData" in dataset else None


def _ids(path: Path) -> tuple[str, str]:
    d = pydicom.dcmread(path, stop_before_pixels=True)
    web = f"/dicom-web/studies/{d.StudyInstanceUID}/series/{d.SeriesInstanceUID}/instances/{d.SOPInstanceUID}"
    return web, public_id(d.PatientID, d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID)


def measure(server: BenchServer, name: str, case: DicomwebCase, seconds: float) -> Iterator[Measured]:
    """Ask for each resource once, then again and again for so many seconds; yield what each of both took."""
    client = Client(server.url, case.accept)
    with UsageWatch(server.processes) as watch:
        answers = [client.ask(path, keep=not number) for number, path in enumerate(case.paths)]
    refused = [answer for answer in answers if answer.status != 200]
    if refused:
        reason = f"answers {refused[0].status}: {refused[0].body[:200]!r}"
        print(f"{name:18} {server.name:10} {reason}", flush=True)
        yield Measured(name, False, server.name, [], 0, 0, 0, reason)
        return
    assert case.right(answers[0].body), f"{name}: {server.name} answers {answers[0].body[:200]!r}"
    yield _measured(name, False, server, watch, answers)
    with UsageWatch(server.processes) as watch:
        deadline, again = time.perf_counter() + seconds, []
        for path in cycle(case.paths):
            again.append(client.ask(path))
            if time.perf_counter() > deadline and len(again) >= LEAST:
                break
    yield _measured(name, True, server, watch, again)


def _measured(name: str, cached: bool, server: BenchServer, watch: UsageWatch, answers: "Sequence[Answer]") -> Measured:
    cpu = sum(usage.cpu for usage in watch.usage.values())
    others = max(watch.busy - cpu - watch.own, 0) / watch.seconds / (os.cpu_count() or 1)
    measured = Measured(name, cached, server.name, [answer.seconds for answer in answers], cpu, answers[0].size, others)
    print(measured.line(), flush=True)
    return measured


@dataclass(frozen=True)
class Answer:
    """An answer; `body` is empty unless it was to be kept, or tells why there is none."""

    status: int
    seconds: float
    size: int
    body: bytes = b""


class Client:
    """One connection, which throws away what comes without a copy."""

    def __init__(self, url: str, accept: str) -> None:
        self._connection = http.client.HTTPConnection(url.rpartition("/")[2], timeout=120)
        self._headers = {"Accept": accept}
        self._buffer = bytearray(1 << 20)

    def ask(self, path: str, *, keep: bool = False) -> Answer:
        """GET a path."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        response = self._connection.getresponse()
        kept, size = bytearray(), 0
        while got := response.readinto(self._buffer):
            size += got
            if keep or response.status != 200:
                kept += self._buffer[:got]
        return Answer(response.status, time.perf_counter() - began, size, bytes(kept))


def _report(found: Sequence[Measured], docs: bool, arguments: str) -> None:
    others = statistics.median(one.others for one in found if not one.refused)
    text = (
        f"{machine()} {_version()}\n`python tests/load/bench_dicomweb.py {arguments}`: all other processes together"
        f" used {others:.0%} of the machine.\n\n{_table(found)}"
    )
    print(f"\n{text}")
    if docs:
        replace_section("dicomweb", text)


def _version() -> str:
    wanted = ["orthanc", "orthanc-dicomweb"]
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"Debian's {done.stdout.rstrip(', ')}." if done.stdout else ""


def _table(found: Sequence[Measured]) -> str:
    peers = {(one.case, one.cached): one for one in found if one.server == PEER and not one.refused}
    head = (
        "| case | | server | p50 ms | p99 ms | times as fast | CPU ms | times less CPU | kB |\n"
        "|---|---|---|--:|--:|--:|--:|--:|--:|\n"
    )
    order = [(case, cached) for case in dict.fromkeys(one.case for one in found) for cached in (False, True)]
    rows = [one for key in order for one in found if (one.case, one.cached) == key]
    return head + "\n".join(_row(one, peers.get((one.case, one.cached))) for one in rows)


def _row(one: Measured, peer: Measured | None) -> str:
    start = f"| {one.case} | {'cached' if one.cached else 'cold'} | {one.server} |"
    if one.refused:
        return f"{start} - | - | - | - | - | - |"
    faster = peer.milliseconds(0.5) / one.milliseconds(0.5) if peer else 0
    lighter = peer.cpu_ms / one.cpu_ms if peer and one.cpu else 0
    return (
        f"{start} {one.milliseconds(0.5):.1f} | {one.milliseconds(0.99):.1f} | {_times(faster)} | {one.cpu_ms:.1f}"
        f" | {_times(lighter)} | {one.size / 1e3:.0f} |"
    )


def _times(factor: float) -> str:
    return f"{factor:.1f}" if factor else "-"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=lambda text: text.split(","), default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--servers", type=lambda text: text.split(","), default=list(STARTERS))
    parser.add_argument("--seconds", type=float, default=4, help="to ask for what was asked for before")
    parser.add_argument("--data", type=Path, default="/var/tmp", help="where the servers keep their data")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    if unknown := set(options.case) - set(CASES):
        parser.error(f"{sorted(unknown)}: no such case")
    if PEER in options.servers and not (shutil.which("Orthanc") and PLUGIN.exists()):
        print("Orthanc or its plugin is not installed (apt-get install orthanc-dicomweb): it is left out")
        options.servers.remove(PEER)
    return options


if __name__ == "__main__":
    main()
