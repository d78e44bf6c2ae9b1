"""A real Prometheus scrapes a running archive: every query of dashboards and rules is answered."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from osteon_local.prometheus import RULES, Prometheus
from support.archive.running import RunningArchive, StandaloneProcess, eventually
from support.deploy.manifests import ROOT
from support.dicom.datasets import ct_slice, saved

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus (Debian: prometheus) is not installed"),
]
MAIN = {
    "ingest": {"Instances per second", "Spool", "Indexed after", "Instances by AE title", "C-STORE by status"},
    "pipeline": {"Dead letters", "Conflicts", "Replicas", "Packs", "Fill", "Transaction", "Waiting", "Lag"},
    "retrieve": {"Pages", "Time of a page", "Requests by status"},
    "storage": {"Studies", "Instances", "Bytes", "Spool: free", "Requests", "Transactions"},
    "slos": {"Burn rate", "Events and errors", "Budget left"},
}
"""Panels that must show something when instances were stored and found."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningArchive, Prometheus]]:
    folder = tmp_path_factory.mktemp("watched")
    process = StandaloneProcess(folder / "data", OSTEON_PREFETCH_THUMBNAILS="0")
    try:
        archive = process.start()
        with Prometheus(folder / "prometheus", {"standalone": [archive.url.removeprefix("http://")]}) as prometheus:
            feed(archive, prometheus, folder)
            yield archive, prometheus
    finally:
        process.stop()


def feed(archive: RunningArchive, prometheus: Prometheus, folder: Path) -> None:
    """Send, search, and wait until two scrapes have seen it and rules have read them."""
    archive.get("/readyz")
    for number in range(3):
        if number:
            eventually(lambda: prometheus.query("osteon_cstore_responses_total > 0"))
        study, series = generate_uid(), generate_uid()
        with archive.association((CTImageStorage, ExplicitVRLittleEndian), calling="CT1") as association:
            files = [saved(ct_slice(study=study, series=series, number=n), folder) for n in range(3)]
            assert [association.send_c_store(file).Status for file in files] == [0, 0, 0]
        archive.get("/dicom-web/studies")
    eventually(lambda: prometheus.query('osteon:slo_burn:rate30m{slo="lag"} >= 0'))
    eventually(lambda: prometheus.query("osteon_archive_resources == 9"))
    eventually(lambda: prometheus.query("osteon:ingest_lag_seconds:p99 > 0"))


def panels() -> Iterator[tuple[str, str, list[str]]]:
    for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield path.stem, panel["title"], [chosen(target["expr"]) for target in panel.get("targets", ())]


def chosen(query: str) -> str:
    return re.sub(r"\$(job|instance|calling_aet)\b", ".*", query.replace("$__rate_interval", "1m"))


def rules() -> Iterator[dict[str, Any]]:
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def test_every_panel_is_answered_and_the_main_ones_are_not_empty(watched: tuple[RunningArchive, Prometheus]) -> None:
    _, prometheus = watched
    filled: dict[str, set[str]] = {}
    for page, title, queries in panels():
        answers = [prometheus.query(query) for query in queries]
        if any(answers):
            filled.setdefault(page, set()).add(title)
    assert {page: titles - filled[page] for page, titles in MAIN.items()} == {page: set() for page in MAIN}


def test_every_rule_is_evaluated_and_no_alert_fires_for_an_archive_in_order(
    watched: tuple[RunningArchive, Prometheus],
) -> None:
    _, prometheus = watched
    results = {rule["expr"]: prometheus.query(rule["expr"]) for rule in rules()}
    alarming = [rule["alert"] for rule in rules() if "alert" in rule and results[rule["expr"]]]
    assert set(alarming) <= {"OsteonSpoolFullSoon"}, (
        "which after some seconds foresees anything, and waits for ten minutes"
    )
    assert prometheus.query("prometheus_rule_evaluation_failures_total > 0") == []


def test_sums_agree_with_what_was_sent(watched: tuple[RunningArchive, Prometheus]) -> None:
    _, prometheus = watched
    for query in ('sum(osteon_received_instances_total{calling_aet="CT1"})', "sum(osteon_indexed_instances_total)"):
        eventually(lambda query=query: prometheus.query(f"{query} == 9"))  # type: ignore[misc]
