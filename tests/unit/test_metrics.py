"""Every metric means something, is set somewhere, and cannot be made to have any number of values."""

import ast
import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from osteon import metrics, process_metrics
from osteon.label_limiter import OTHER, LabelLimiter
from osteon.settings import ProcessSettings
from support.metric_values import value
from support.steady_loop import SteadyEventLoop

ROOT = Path(__file__).resolve().parents[2]
SETTING = {"inc", "dec", "set", "set_function", "set_to_current_time", "observe", "time", "track_inprogress"}


def names() -> set[str]:
    return {name for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}


def used() -> Iterator[str]:
    """Yield the metrics that services change, as `metrics.NAME` or imported by name."""
    for path in [*(ROOT / "shared").rglob("*.py"), *(ROOT / "services").rglob("*.py")]:
        if path == ROOT / "shared/osteon/metrics.py":
            continue
        tree = ast.parse(path.read_text())
        if not any(isinstance(node, ast.Attribute) and node.attr in SETTING for node in ast.walk(tree)):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "metrics":
                yield node.attr
            elif isinstance(node, ast.ImportFrom) and node.module == "osteon.metrics":
                yield from (alias.name for alias in node.names)


@pytest.mark.slow
def test_every_metric_is_set_by_some_service() -> None:
    assert names() - set(used()) == set()


def test_every_metric_has_a_meaning_of_its_own() -> None:
    (families,) = zip(*(getattr(metrics, name).describe() for name in names()), strict=True)
    meanings = [family.documentation for family in families]
    assert all(meaning.endswith(".") for meaning in meanings), meanings
    assert len(set(meanings)) == len(meanings)
    assert all(family.name.startswith("osteon_") for family in families)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_names_and_units_follow_the_conventions_of_prometheus() -> None:
    done = subprocess.run(["promtool", "check", "metrics"], check=False, input=generate_latest(), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_only_the_first_so_many_names_are_told_apart() -> None:
    limiter = LabelLimiter(2)
    assert [limiter(name) for name in ("A", "B", "C", "A", "D")] == [("A",), ("B",), (OTHER,), ("A",), (OTHER,)]
    assert limiter.known("B") == ("B",)
    assert LabelLimiter(1).known("A") == (OTHER,)
    pairs = LabelLimiter(1)
    assert (pairs("A", "CT"), pairs("A", "MR")) == (("A", "CT"), (OTHER, OTHER))


def test_a_setting_says_how_many_names_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.AETS, "most", 200)
    monkeypatch.setattr(metrics.SENDERS, "most", 200)
    process_metrics.describe_process("test", ProcessSettings(metrics_max_aets=7))
    assert (metrics.AETS.most, metrics.SENDERS.most) == (7, 7)


def hold_up(seconds: float) -> None:
    """Let the loop's clock go on as if something had blocked it."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteadyEventLoop)
    loop.count_wait(seconds)


async def test_an_event_loop_that_is_held_up_says_for_how_long() -> None:
    before = value(metrics.LOOP_LAG_SECONDS, "_sum")
    async with process_metrics.measure_loop_lag():
        await asyncio.sleep(0.01)
        hold_up(0.8)
        await asyncio.sleep(0.05)
    assert value(metrics.LOOP_LAG_SECONDS, "_sum") - before > 0.2
    assert value(metrics.LOOP_LONGEST_DELAY_SECONDS) > 0.2


async def test_the_longest_delay_of_the_loop_is_shown_after_it_for_a_minute_and_forgotten_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_metrics, "_WINDOW", 0.4)
    async with process_metrics.measure_loop_lag():
        await asyncio.sleep(0.01)
        hold_up(1)
        await asyncio.sleep(0.15)
        assert value(metrics.LOOP_LONGEST_DELAY_SECONDS) > 0.8
        async with asyncio.timeout(30):
            while value(metrics.LOOP_LONGEST_DELAY_SECONDS) > 0.8:
                await asyncio.sleep(0.1)
