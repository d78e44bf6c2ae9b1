"""Runs every query of every dashboard and rule on a real cluster, and draws what came: docs/dashboards/*.svg.

    .venv/bin/python deploy/grafana/draw.py --seconds 120

Starts what `make cluster` starts and a Prometheus beside it, on free loopback ports and in a temporary folder, sends
studies that it makes up, fetches some, and ends everything. The pictures are no screenshots of Grafana.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
sys.path[:0] = [str(ROOT / "deploy" / "local"), str(ROOT / "tests")]

import httpx  # noqa: E402
from pydicom.data import DATA_ROOT  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402

from osteon_local.cluster import Cluster  # noqa: E402 - found by the path above
from osteon_local.prometheus import Prometheus  # noqa: E402
from support.archive import Archive  # noqa: E402
from support.data import storable  # noqa: E402
from support.make import ct_slice, saved  # noqa: E402

DOCS: Final = ROOT / "docs" / "dashboards"
COLOURS: Final = ("#1f6f8b", "#99582a", "#6a994e", "#7b2d8b", "#c9a227", "#555555", "#c1121f", "#7fb7be")
CELL, LINE, PAD = 38, 30, 8
"""Size of a cell of Grafana's grid, and space in it, in pixels."""
CAPTION: Final = "Drawn from Prometheus' answers in a small cluster on one host; not a screenshot of Grafana."


def main() -> int:
    """Run, draw, and say what was empty. Status 1 when Prometheus refused a query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long studies are sent")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        data = Path(folder)
        data.chmod(0o755)  # PostgreSQL runs as a user of its own
        with Cluster(data / "cluster", replicas={"ingress": 2}) as cluster, watched(cluster, data) as prometheus:
            begin = time.time()
            work(cluster, data, seconds)
            time.sleep(10)
            pages = sorted((HERE / "dashboards").glob("*.json"))
            pictures = [draw(path, prometheus, begin, time.time()) for path in pages]
            check_rules(prometheus)
    say(f"{sum(pictures)} panels are empty")
    return 0


def watched(cluster: Cluster, data: Path) -> Prometheus:
    """Return a Prometheus for the services of a cluster."""
    targets: dict[str, list[str]] = {}
    for replica in cluster.replicas.values():
        targets.setdefault(replica.name.rpartition("-")[0], []).append(f"127.0.0.1:{replica.health_port}")
    return Prometheus(data / "prometheus", targets)


def work(cluster: Cluster, folder: Path, seconds: float) -> None:
    """Send, search and fetch in turns until the time is over; some of it twice, some of it odd."""
    archive = Archive(cluster.dicom_port, cluster.url)
    others, until, turn = storable(Path(DATA_ROOT) / "test_files"), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for sender, slices in (("CT1", 30 + 10 * (turn % 3)), ("CT2", 12), ("XA1", 3)):
            send_study(archive, folder, sender, slices)
        archive.send(list(others[turn % 6 :: 6]))
        for replica in cluster.replicas.values():
            if not replica.ready:
                say(f"{replica.name} is not ready")
        for study in archive.get("/dicom-web/studies?limit=5").json():
            archive.get(f"/dicom-web/studies/{study['0020000D']['Value'][0]}/metadata")
        archive.find("1.2.840.10008.5.1.4.1.2.2.1", QueryRetrieveLevel="STUDY", StudyInstanceUID="")
        for instance in archive.get("/instances").json()[turn::40][:6]:
            httpx.get(f"{archive.url}/instances/{instance}/preview", timeout=60)  # not all have pixels
            archive.get(f"/instances/{instance}/file")
        turn += 1
        time.sleep(1)


def send_study(archive: Archive, folder: Path, sender: str, slices: int) -> None:
    """Send a study of one series that is made up."""
    study, series = generate_uid(), generate_uid()
    with archive.association((CTImageStorage, ExplicitVRLittleEndian), calling=sender) as association:
        for number in range(slices):
            file = saved(ct_slice(study=study, series=series, number=number), folder)
            association.send_c_store(file)
            file.unlink()


def say(text: str) -> None:
    """Tell the person at the terminal."""
    sys.stdout.write(f"{text}\n")


def check_rules(prometheus: Prometheus) -> None:
    """Raise `RuntimeError` when a rule failed; say which alerts are pending or firing."""
    failed = prometheus.query("prometheus_rule_evaluation_failures_total > 0")
    if failed:
        raise RuntimeError(f"rules that can not be evaluated: {failed}")
    for alert in prometheus.query('ALERTS{alertname=~"Osteon.*"}'):
        say(f"alert: {alert['metric']}")


def draw(path: Path, prometheus: Prometheus, begin: float, end: float) -> int:
    """Write the picture of one dashboard; return how many panels are empty."""
    page = json.loads(path.read_text())
    parts, empty, bottom = [], 0, 0
    for panel in page["panels"]:
        place = panel["gridPos"]
        x, y, width, height = place["x"] * CELL, place["y"] * LINE + 60, place["w"] * CELL, place["h"] * LINE
        bottom = max(bottom, y + height)
        if panel["type"] == "row":
            parts.append(
                f'<text x="{PAD}" y="{y + 20}" font-size="14" font-weight="bold">{escape(panel["title"])}</text>'
            )
            continue
        series = list(answers(panel, prometheus, begin, end))
        empty += not series
        inner = stat(panel, series, width, height) if panel["type"] == "stat" else graph(panel, series, width, height)
        frame = f'<rect width="{width - 6}" height="{height - 6}" rx="3" fill="white" stroke="#ddd"/>'
        title = f'<text x="{PAD}" y="16" font-weight="bold">{escape(panel["title"])}</text>'
        parts.append(f'<g transform="translate({x} {y})">{frame}{title}{inner}</g>')
    size = f'viewBox="0 0 {24 * CELL} {bottom + 10}" width="{24 * CELL}" height="{bottom + 10}"'
    DOCS.mkdir(exist_ok=True)
    (DOCS / f"{path.stem}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="#f4f5f5"/>\n<text x="{PAD}" y="24" font-size="18">'
        f'{escape(page["title"])}</text>\n<text x="{PAD}" y="44" fill="#777">{CAPTION}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
    return empty


def answers(
    panel: Mapping[str, Any], prometheus: Prometheus, begin: float, end: float
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield the legend and the points (moment from 0 to 1, value) of each series of a panel."""
    for target in panel["targets"]:
        query = re.sub(r"\$(job|instance|calling_aet)\b", ".*", target["expr"].replace("$__rate_interval", "15s"))
        for series in prometheus.query_range(query, begin, end, max(1.0, (end - begin) / 120)):
            name = re.sub(r"\{\{(\w+)\}\}", lambda m, s=series: s["metric"].get(m[1], ""), target["legendFormat"])
            points = [((moment - begin) / (end - begin), float(value)) for moment, value in series["values"]]
            points = [(moment, value) for moment, value in points if abs(value) < float("inf")]
            if points:
                yield name, points


def stat(
    panel: Mapping[str, Any], series: Sequence[tuple[str, list[tuple[float, float]]]], width: int, height: int
) -> str:
    """Return the last value, large."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    value = shown(series[0][1][-1][1], unit) if series else "no data"
    where = f'x="{width // 2}" y="{height // 2 + 16}" text-anchor="middle"'
    return f'<text {where} font-size="24" fill="#1f6f8b">{escape(value)}</text>'


def graph(
    panel: Mapping[str, Any], series: Sequence[tuple[str, list[tuple[float, float]]]], width: int, height: int
) -> str:
    """Return lines, the largest value and a legend of two lines at most."""
    if not series:
        return f'<text x="{width // 2}" y="{height // 2}" text-anchor="middle" fill="#999">no data</text>'
    unit = panel["fieldConfig"]["defaults"]["unit"]
    top = max(value for _, points in series for _, value in points) or 1.0
    left, right, low, high = 64, width - 20, height - 56, 30
    parts = [f'<path d="M{left} {high}V{low}H{right}" stroke="#bbb" fill="none"/>']
    parts += [
        f'<text x="{left - 4}" y="{y + 4}" text-anchor="end" fill="#777">{shown(value, unit)}</text>'
        for y, value in ((high, top), (low, 0.0))
    ]
    for number, (_, points) in enumerate(series):
        line = " ".join(
            f"{left + moment * (right - left):.0f},{low - max(0.0, value) / top * (low - high):.0f}"
            for moment, value in points
        )
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    columns = max(1, width // 110)
    for number, (name, _) in enumerate(series[: 2 * columns]):
        x, y = PAD + number % columns * (width - 16) // columns, height - 38 + number // columns * 14
        parts.append(f'<rect x="{x}" y="{y}" width="8" height="8" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 11}" y="{y + 8}">{escape(name[: (width // columns - 16) // 6])}</text>')
    return "".join(parts)


def shown(value: float, unit: str) -> str:
    """Return a value with its unit, short."""
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    if unit in {"bytes", "Bps"}:
        for name in ("B", "KiB", "MiB", "GiB", "TiB"):
            if value < 1024 or name == "TiB":
                return f"{value:.3g} {name}" + ("/s" if unit == "Bps" else "")
            value /= 1024
    return f"{value:.3g}" + ("/s" if unit == "ops" else "")


if __name__ == "__main__":
    sys.exit(main())
