"""`osteon sizing`: the model, its figures, and what it says."""

import json
import re
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from osteon.cli.sizing import measurements
from osteon.cli.sizing.command import main
from osteon.cli.sizing.measurements import MB, Cost
from osteon.cli.sizing.model import Site, Sizing, StudyKind

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "performance.md").read_text()
FAR = 1.6
"""Benchmarks differ from run to run; a figure that went further is not noise."""
CASES = ("16x20kB", "16x0.5MB", "1x500MB")


def sizing(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, arguments)


def section(name: str) -> str:
    return PAGE.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]


def tables(text: str) -> list[list[dict[str, str]]]:
    """Return the rows of each Markdown table by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def alike(figure: float, measured_now: float) -> bool:
    # Where little is used, the kernel's ticks are coarse.
    return abs(figure - measured_now) <= 0.15 or 1 / FAR <= figure / measured_now <= FAR


@pytest.mark.parametrize("name", sorted(measurements.INGEST))
def test_what_an_instance_costs_a_process_is_what_the_page_of_performance_says(name: str) -> None:
    rows = {row["case"]: row for row in tables(section("ingest"))[1]}
    column = {"rabbitmq": "rabbitmq", "postgres": "postgres", "objects": "seaweedfs"}.get(name, f"{name}-0")
    for case, (_, figure) in zip(CASES, measurements.INGEST[name].points, strict=True):
        assert alike(figure, float(rows[case][column])), f"{case} of {name}: see osteon/sizing/measurements.py"


def test_what_sending_an_instance_costs_is_what_the_page_of_performance_says() -> None:
    rows = {row["case"]: row for row in tables(section("retrieve"))[0] if row["server"] == "cluster"}
    for number, case in enumerate(("move-20kB", "move-0.5MB")):
        assert alike(measurements.SEND.points[number][1], float(rows[case]["CPU ms: own"]))
        assert alike(measurements.SEND_OBJECTS.points[number][1], float(rows[case]["S3"]))


def test_bytes_of_an_instance_in_database_and_sidecar_are_what_the_page_of_performance_says() -> None:
    found = re.search(r"cluster: database (\d+), sidecars (\d+)", section("ingest"))
    assert found
    for figure, now in zip((measurements.DATABASE_BYTES, measurements.SIDECAR_BYTES), found.groups(), strict=True):
        assert 1 / 1.2 <= figure / float(now) <= 1.2


def test_memory_and_associations_of_a_replica_are_those_of_the_manifests() -> None:
    limits = {}
    for path in (ROOT / "k8s" / "base").glob("*.yaml"):
        for manifest in yaml.safe_load_all(path.read_text()):
            pod = manifest.get("spec", {}).get("template", {}).get("spec", {}) if manifest else {}
            for container in pod.get("containers", []):
                limits[container["name"]] = container["resources"]["limits"]["memory"]
    assert {name: limits[name] for name in measurements.MEMORY} == {
        n: f"{gib}Gi" for n, gib in measurements.MEMORY.items()
    }
    scaler = yaml.safe_load((ROOT / "k8s" / "components" / "keda" / "ingress.yaml").read_text())
    thresholds = [trigger["metadata"].get("threshold") for trigger in scaler["spec"]["triggers"]]
    assert str(measurements.ASSOCIATIONS) in thresholds


def test_a_cost_follows_a_line_between_the_sizes_that_were_measured_and_beyond_them() -> None:
    cost = Cost(((1.0, 10.0), (3.0, 20.0), (5.0, 40.0)))
    assert [cost.at(megabytes) for megabytes in (1, 2, 3, 4, 5, 6, 0)] == [10, 15, 20, 30, 40, 50, 5]
    assert Cost(((1.0, 1.0), (2.0, 9.0))).at(0.01) == 0


def test_cores_are_rate_times_cost_and_replicas_follow_them_with_spare_ones() -> None:
    studies = 3600 / measurements.STUDY_INSTANCES / 0.1 * 1000  # 1,000 instances a second in the busiest hour
    site = Site([StudyKind("CT", studies)], busy_hour=0.1, burst=1.0, associations=1, sent=0, viewed=0, spare=2)
    found = Sizing(site)
    assert site.rate == pytest.approx(1000)
    assert found.cores["ingress"] == pytest.approx(1.39)
    assert found.cores["dispatcher"] == 0
    replicas = {service.name: service.replicas for service in found.services}
    assert replicas == {"ingress": 4, "writer": 4, "indexer": 3, "dispatcher": 3, "query": 3, "imaging": 3}


def test_many_associations_need_more_doors_even_when_little_comes() -> None:
    found = Sizing(Site([StudyKind("CR", 10, 2, 1)], associations=200))
    assert {s.name: s.replicas for s in found.services if s.name in ("ingress", "writer")} == {
        "ingress": 5,
        "writer": 5,
    }


def test_the_spool_holds_an_outage_below_its_high_water_mark_with_the_spare_pods_away() -> None:
    site = Site([StudyKind("CT", 1000, 100, 1.0)], busy_hour=0.36, outage=10, associations=100, spare=1)
    found = Sizing(site)
    data_sets = 10 * 1e5 * MB * 0.36
    assert found.spool == pytest.approx(data_sets * (1 + measurements.CONTAINER_BYTES / MB) / 0.9)
    assert found.spool_each == pytest.approx(found.spool / 2)


def test_growth_adds_up_over_the_years() -> None:
    steady, growing = (Sizing(Site([StudyKind("CT", 10)], years=2, growth=growth)) for growth in (0.0, 0.5))
    assert steady.objects == pytest.approx(2 * steady.objects_a_year)
    assert growing.objects == pytest.approx(2.5 * steady.objects_a_year)
    assert growing.database == pytest.approx(2.5 * growing.database_a_year)


def test_packs_are_no_more_than_instances_and_no_more_than_associations_can_seal() -> None:
    assert Sizing(Site([StudyKind("CR", 10, 1, 1)])).packs_a_second == pytest.approx(
        10 * 0.12 / 3600 * measurements.BURST
    )
    assert Sizing(Site([StudyKind("CT", 10000)], associations=20)).packs_a_second < 20


def test_json_has_the_numbers_of_the_text() -> None:
    found = json.loads(sizing("--kind", "CT:100:500:0.5", "--kind", "DX:10:2:20", "--json").stdout)
    assert found["instances_a_day"] == 50_020
    assert found["bytes_a_day"] == pytest.approx(50_000 * 0.5 * MB + 20 * 20 * MB)
    assert found["services"]["imaging"]["cores"] is None
    assert (
        "comes in      50,020 instances a day, 25 GB"
        in sizing("--kind", "CT:100:500:0.5", "--kind", "DX:10:2:20").stdout
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--studies 1 --kind CT:1:1:1",
        "--kind CT:1:1",
        "--kind CT:1:nan:1",
        "--kind CT:0:1:1",
        "--studies nan",
        "--studies inf",
    ],
    ids=["nothing", "both", "short", "nan", "zero", "no number", "endless"],
)
def test_a_site_that_makes_no_sense_is_refused_with_the_option_that_is_wrong(arguments: str) -> None:
    done = sizing(*arguments.split())
    assert done.exit_code == 2
    assert "--studies" in done.output or "--kind" in done.output
