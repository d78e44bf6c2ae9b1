"""`osteon demo`: sends the demo study to an archive that runs, and shows that every service does its part."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import orjson
import typer
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from rich.console import Console
from rich.table import Table

from osteon.dicom.models import STUDY_ROOT
from osteon.dimse.sop_classes import VERIFICATION
from osteon.errors import OsteonError, Unavailable
from osteon_standalone import demo

T = TypeVar("T")
_PATIENCE: Final = 30.0
"""Seconds for one answer."""
_PENDING: Final = (0xFF00, 0xFF01)
_PNG: Final = b"\x89PNG\r\n\x1a\n"


class StepFailed(OsteonError):
    """A service did not do what it should."""


@dataclass(slots=True)
class Archive:
    """Where the archive is, and the study that is sent to it."""

    host: str
    port: int
    aet: str
    url: str
    wait: float
    datasets: list[Dataset] = field(default_factory=lambda: list(demo.instances()))

    @property
    def study(self) -> str:
        """Study Instance UID of the demo study."""
        return str(self.datasets[0].StudyInstanceUID)

    def associate(self, kinds: Iterable[tuple[Any, ...]], **more: Any) -> Association:
        """Open an association for (SOP class, transfer syntax) pairs; raises `Unavailable`."""
        client = AE("OSTEON-DEMO")
        client.dimse_timeout = client.network_timeout = _PATIENCE
        for kind in kinds:
            client.add_requested_context(*kind)
        association = client.associate(self.host, self.port, ae_title=self.aet, **more)
        if not association.is_established:
            raise Unavailable(f"no association with {self.aet} at {self.host}:{self.port}")
        return association

    def get(self, path: str, accept: str = "application/json") -> bytes:
        """Return the response of a path of the HTTP API; raises `Unavailable`."""
        return fetch(self.url + path, accept)

    def search(self, path: str) -> list[dict[str, Any]]:
        """Return the matches of QIDO-RS, which answers without a body when there are none; raises `Unavailable`."""
        matches: list[dict[str, Any]] = orjson.loads(self.get(path, "application/dicom+json") or b"[]")
        return matches


Step = Callable[[Archive], str]
"""Takes one step and returns its result as text; raises an `OsteonError`."""


def main(
    *,
    dicom: Annotated[str, typer.Option(metavar="HOST:PORT", help="The DICOM port.")] = "127.0.0.1:4242",
    aet: Annotated[str, typer.Option(metavar="AET", help="The AE title.")] = "OSTEON",
    http: Annotated[str, typer.Option(metavar="URL", help="The HTTP port.")] = "http://127.0.0.1:8042",
    prometheus: Annotated[str, typer.Option(metavar="URL", help="If there is one.")] = "http://127.0.0.1:9090",
    grafana: Annotated[str, typer.Option(metavar="URL", help="If there is one.")] = "http://127.0.0.1:3000",
    wait: Annotated[float, typer.Option(min=0, help="Seconds for the archive to come up, and to index.")] = 60.0,
) -> None:
    """Send the demo study to a running archive and show what each service does. Exit code 1: one does not."""
    console = Console(highlight=False)
    host, _, port = dicom.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"{dicom}: expected HOST:PORT", param_hint="--dicom")
    archive = Archive(host, int(port), aet, http.rstrip("/"), wait)
    failed = _show(archive, console)
    if counts := replicas(prometheus.rstrip("/")):
        console.print(_replica_table(counts))
    if failed:
        raise typer.Exit(1)
    pages = [("Prometheus", prometheus, "/-/ready"), ("Grafana", grafana, "/api/health")]
    console.print(_where(archive, pages), soft_wrap=True)


def _show(archive: Archive, console: Console) -> bool:
    """Take every step until one fails; return whether one did."""
    table = Table("service", "request", "answer", "seconds", box=None, title="Every service at work", min_width=60)
    failure = ""
    with console.status("Waiting for the archive") as status:
        for service, request, step in STEPS:
            status.update(f"{service}: {request}")
            began = time.monotonic()
            try:
                answer = step(archive)
            except OsteonError as error:
                failure = f"{service}: {request}: {error}"
                table.add_row(service, request, "[red]failed[/red]", "")
                break
            table.add_row(service, request, f"[green]{answer}[/green]", f"{time.monotonic() - began:.2f}")
    console.print(table)
    if failure:
        console.print(f"[red]{failure}[/red]")
    return bool(failure)


def echo(archive: Archive) -> str:
    """C-ECHO, once both ports answer."""
    _until(archive.wait, lambda: archive.get("/system"))
    association = _until(archive.wait, lambda: archive.associate([(VERIFICATION,)]))
    status = association.send_c_echo()
    association.release()
    return _succeeded(status, "it is there")


def store(archive: Archive) -> str:
    """C-STORE of the study; the same study again is stored once."""
    demo.send(archive.aet, archive.port, lambda: None, host=archive.host)
    return f"{len(archive.datasets)} instances are on disk"


def indexed(archive: Archive) -> str:
    """Wait until the study can be found, after spool, writer and indexer."""
    path = f"/dicom-web/studies/{archive.study}/instances"

    def complete() -> int:
        found = len(archive.search(path))
        if found < len(archive.datasets):
            raise Unavailable(f"{found} of {len(archive.datasets)} instances were found in {archive.wait:g} s")
        return found

    return f"{_until(archive.wait, complete)} instances can be found"


def qido(archive: Archive) -> str:
    """Find the study of the demo patient by QIDO-RS."""
    path = f"/dicom-web/studies?PatientID={quote(demo.PATIENT_ID)}&includefield=all"
    matches = archive.search(path)
    if archive.study not in {match["0020000D"]["Value"][0] for match in matches}:
        raise StepFailed(f"{len(matches)} studies, but not the one of the demo")
    return f"{len(matches)} study of {demo.PATIENT_ID}"


def find(archive: Archive) -> str:
    """Count the series of the study by C-FIND."""
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID, query.SeriesInstanceUID = "SERIES", archive.study, ""
    association = archive.associate([(STUDY_ROOT.find,)])
    answers = list(association.send_c_find(query, STUDY_ROOT.find))
    association.release()
    found = sum(1 for status, _ in answers if "Status" in status and status.Status in _PENDING)
    return _succeeded(answers[-1][0], f"{found} series")


def render(archive: Archive) -> str:
    """A picture of an instance, as PNG."""
    first = archive.datasets[0]
    path = f"/studies/{archive.study}/series/{first.SeriesInstanceUID}/instances/{first.SOPInstanceUID}/rendered"
    picture = archive.get("/dicom-web" + path, "image/png")
    if not picture.startswith(_PNG):
        raise StepFailed("what came is no PNG")
    return f"PNG, {len(picture):,} bytes"


def retrieve(archive: Archive) -> str:
    """C-GET of the study, which `dispatcher` plans and `ingress` sends."""
    kinds = sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in archive.datasets})
    came: dict[str, int] = {}

    def take(event: Any) -> int:
        came[str(event.request.AffectedSOPInstanceUID)] = len(event.request.DataSet.getvalue())
        return 0x0000

    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", archive.study
    association = archive.associate(
        [(STUDY_ROOT.get,), *kinds],
        ext_neg=[build_role(uid, scp_role=True) for uid in sorted({uid for uid, _ in kinds})],
        evt_handlers=[(evt.EVT_C_STORE, take)],
    )
    answers = list(association.send_c_get(query, STUDY_ROOT.get))
    association.release()
    missing = {str(d.SOPInstanceUID) for d in archive.datasets} - set(came)
    if missing:
        raise StepFailed(f"{len(missing)} of {len(archive.datasets)} instances did not come")
    return _succeeded(answers[-1][0], f"{len(came)} instances, {sum(came.values()):,} bytes")


STEPS: Final[tuple[tuple[str, str, Step], ...]] = (
    ("ingress", "C-ECHO", echo),
    ("ingress", "C-STORE of the demo study", store),
    ("writer, indexer", "spool → objects → index", indexed),
    ("query", "QIDO-RS", qido),
    ("query", "C-FIND", find),
    ("imaging", "a picture", render),
    ("dispatcher", "C-GET of the study", retrieve),
)


def _succeeded(status: Dataset, answer: str) -> str:
    if "Status" not in status or status.Status != 0x0000:
        raise StepFailed(f"status {status.Status:04X}" if "Status" in status else "no answer")
    return answer


def _until(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, once it does not raise `Unavailable` any more; raises it after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return work()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def fetch(url: str, accept: str = "application/json") -> bytes:
    """Return the body of a GET; raises `Unavailable`."""
    try:
        with urlopen(Request(url, headers={"Accept": accept}), timeout=_PATIENCE) as answer:  # noqa: S310 (as given)
            return bytes(answer.read())
    except (URLError, OSError, ValueError) as error:
        raise Unavailable(f"{url}: {error}") from None


def replicas(prometheus: str, get: Callable[[str], bytes] = fetch) -> dict[str, tuple[int, int]]:
    """Return by service how many replicas answer Prometheus, and how many there are; empty without Prometheus."""
    try:
        results = orjson.loads(get(f"{prometheus}/api/v1/query?query=up"))["data"]["result"]
    except (Unavailable, orjson.JSONDecodeError, KeyError):
        return {}
    counts: dict[str, tuple[int, int]] = {}
    for result in results:
        up, known = counts.get(result["metric"]["job"], (0, 0))
        counts[result["metric"]["job"]] = (up + int(float(result["value"][1])), known + 1)
    return dict(sorted(counts.items()))


def _replica_table(counts: dict[str, tuple[int, int]]) -> Table:
    table = Table("part", "replicas that answer", box=None, title="What Prometheus sees", min_width=60)
    for part, (up, known) in counts.items():
        table.add_row(part, f"[{'green' if up == known else 'red'}]{up} of {known}")
    return table


def _where(archive: Archive, pages: Iterable[tuple[str, str, str]]) -> str:
    lines = [
        ("AE title", archive.aet),
        ("DICOM", f"{archive.host}:{archive.port}"),
        ("DICOMweb", f"{archive.url}/dicom-web"),
        ("Study", f"{archive.url}/dicom-web/studies/{archive.study}"),
        ("API pages", f"{archive.url}/docs"),
        *((name, url) for name, url, path in pages if _answers(url.rstrip("/") + path)),
    ]
    return "\n".join(["", *(f"  {name:<11} {where}" for name, where in lines), ""])


def _answers(url: str) -> bool:
    try:
        fetch(url)
    except Unavailable:
        return False
    return True
