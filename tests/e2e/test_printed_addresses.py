"""Every address that the banner, the tour, README and docs print for the archive's own host is answered."""

import re
from pathlib import Path

import httpx
import pytest

from osteon.runtime import Running
from osteon_standalone.__main__ import banner
from osteon_standalone.settings import StandaloneServiceSettings
from support.archive.running import RunningArchive

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]

ROOT = Path(__file__).parents[2]
_ADDRESS = re.compile(r"127\.0\.0\.1:8042(/[^\s`'\")]*)?")
_PLACEHOLDER = re.compile(r"[{}$…<>]|\.\.\.|/(ID|NAME)\b")


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
