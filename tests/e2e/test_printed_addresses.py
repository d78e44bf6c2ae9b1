"""Every address that the banner, the tour, README and docs print for the archive's own host is answered."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from osteon.runtime import Running
from osteon_standalone.__main__ import banner
from osteon_standalone.settings import StandaloneServiceSettings
from support.archive.running import RunningArchive

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]

ROOT = Path(__file__).parents[2]
OSTEON = Path(sys.executable).with_name("osteon")
_ADDRESS = re.compile(r"127\.0\.0\.1:8042(/[^\s`'\")]*)?")
_PLACEHOLDER = re.compile(r"[{}$…<>]|\.\.\.|/(ID|NAME)\b")
_COMMAND = re.compile(r"^(?:\$ )?osteon ([a-z-]+)(?: ([a-z]+)\b)?", re.MULTILINE)


def printed() -> set[str]:
    """Return the paths below the archive's HTTP address, those with placeholders left out."""
    settings = StandaloneServiceSettings(http_port=8042)
    texts = [banner(settings, Running({}, {"http": 8042, "dicom": 4242}))]
    texts += [page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    found = {match[1] or "/" for text in texts for match in _ADDRESS.finditer(text)}
    return {path.rstrip(".,;:") for path in found if not _PLACEHOLDER.search(path)}


def test_every_address_answers(standalone: RunningArchive) -> None:
    paths = printed()
    assert {"/", "/docs", "/dicom-web", "/metrics"} <= paths
    statuses = {path: httpx.get(standalone.url + path, timeout=60).status_code for path in sorted(paths)}
    # POST only, as the page says.
    assert {path: status for path, status in statuses.items() if status >= 400 and status != 405} == {}


def test_every_command_that_is_named_exists() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    blocks = (block for page in pages for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    named = {match[1] for block in blocks for match in _COMMAND.finditer(block)}
    assert len(named) > 5
    listed = subprocess.run([OSTEON, "--help"], capture_output=True, text=True, timeout=120, check=True).stdout
    assert {name for name in named if not re.search(rf"^[│ ]+{name} ", listed, re.MULTILINE)} == set()
