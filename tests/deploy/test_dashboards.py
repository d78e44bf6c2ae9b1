"""Grafana's dashboards: as their lists say, fed by metrics that exist, laid out without overlaps, and provisioned."""

import json
import re
import runpy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deploy.checkers import built, run, tool
from support.deploy.manifests import COMPONENTS, ROOT, compose
from support.deploy.promql import exported, metrics_in, recorded, unknown

GRAFANA = ROOT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
RULES = ROOT / "deploy" / "prometheus" / "rules"
UNITS = {"short", "ops", "Bps", "s", "percentunit", "bytes"}
WIDTH = 24


def rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def known() -> dict[str, set[str]]:
    return exported() | recorded(rules()) | {"ALERTS": {"alertname", "alertstate"}}


def page(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in page(path)["panels"] if panel["type"] != "row"]


def queries(path: Path) -> list[str]:
    return [target["expr"].replace("$__rate_interval", "5m") for panel in panels(path) for target in panel["targets"]]


def every_file(test: Any) -> Any:
    return pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)(test)


def test_the_files_are_those_that_the_lists_make() -> None:
    made = runpy.run_path(str(GRAFANA / "build.py"))["pages"]()
    assert {path: path.read_text() for path in FILES} == made, "run `make docs`"
    assert len(FILES) == 6


@every_file
def test_every_query_reads_metrics_that_exist_by_labels_that_they_have(path: Path) -> None:
    assert {query: wrong for query in queries(path) if (wrong := unknown(query, known()))} == {}


@every_file
def test_legends_name_labels_that_the_query_keeps(path: Path) -> None:
    for panel in panels(path):
        for target in panel["targets"]:
            labels = {"job", "instance"}.union(*(known()[name] for name, _ in metrics_in(target["expr"])))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, target


@every_file
def test_every_query_is_valid_promql(path: Path, tmp_path: Path) -> None:
    made = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries(path))]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": made}]}))
    done = run(tool("promtool"), "check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@every_file
def test_no_panel_lies_on_another_or_beyond_the_edge(path: Path) -> None:
    places = [panel["gridPos"] for panel in page(path)["panels"]]
    assert all(place["x"] + place["w"] <= WIDTH for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@every_file
def test_every_panel_has_a_unit_a_meaning_and_the_data_source_of_the_page(path: Path) -> None:
    content = page(path)
    assert [v["name"] for v in content["templating"]["list"]][:3] == ["datasource", "job", "instance"]
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    for panel in panels(path):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert len(panel["description"]) > 5
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        for link in panel["links"]:
            assert (ROOT / "docs" / "runbooks" / link["url"].rpartition("/")[2]).exists()


def test_addresses_and_titles_differ() -> None:
    assert len({page(path)["uid"] for path in FILES}) == len({page(path)["title"] for path in FILES}) == len(FILES)


def test_every_metric_of_osteon_is_shown_or_watched() -> None:
    shown = "\n".join([query for path in FILES for query in queries(path)] + [rule["expr"] for rule in rules()])
    used = {name for name, _ in metrics_in(shown)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported() if name.startswith("osteon_")}
    missing = {family for family in families if not any(name.startswith(family) for name in used)}
    assert missing <= NOT_SHOWN, missing - NOT_SHOWN
    assert missing >= NOT_SHOWN, "is shown by now"


NOT_SHOWN = {
    "osteon_build_info",
}
"""Of use when somebody asks, not to be looked at all the time."""


def test_grafana_is_told_where_prometheus_and_the_dashboards_are() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert [(source["type"], source["url"]) for source in sources] == [("prometheus", "http://prometheus:9090")]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/osteon.yml").read_text())["providers"]
    mounted = dict(volume.split(":")[:2] for volume in compose()["services"]["grafana"]["volumes"])
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    runbooks = runpy.run_path(str(GRAFANA / "build.py"))["RUNBOOKS"]
    assert mounted["./docs/runbooks"] == f"/usr/share/grafana{runbooks}"


def test_kubernetes_gets_the_same_dashboards() -> None:
    listed = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"]
    assert sorted(file for one in listed for file in one["files"]) == [f"dashboards/{path.name}" for path in FILES]
    component = yaml.safe_load((COMPONENTS / "prometheus-operator" / "kustomization.yaml").read_text())
    assert "../../../deploy/grafana" in component["resources"]
    found = [
        one for one in built(ROOT / "k8s/overlays/prod") if one["metadata"]["name"].startswith("osteon-dashboard-")
    ]
    assert {name: text for one in found for name, text in one["data"].items()} == {
        path.name: path.read_text() for path in FILES
    }
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in found)
