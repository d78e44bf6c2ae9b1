"""The benchmarks run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "load" / "bench_ingest.py"


@pytest.mark.slow
def test_a_comparison_measures_every_instance(tmp_path: Path) -> None:
    options = ["--case", "2x20kB", "--servers", "standalone", "--instances", "6", "--repeats", "1", "--json", "found"]
    done = subprocess.run(
        [sys.executable, str(BENCH), *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = json.loads((tmp_path / "found").read_text())
    assert (run["instances"], len(run["latencies"])) == (6, 6)
    assert run["seconds"] >= run["answered"] > 0
    assert run["usage"]["standalone"]["cpu"] > 0
    assert run["usage"]["standalone"]["peak"] > run["usage"]["standalone"]["anonymous"] > 0
    assert "| 2x20kB | standalone |" in done.stdout
