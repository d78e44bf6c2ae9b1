"""Every address that the banner, the tour, README and docs print for the archive's own host is answered."""

import re
from collections.abc import Iterable
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


def printed(pages: Iterable[Path]) -> set[str]:
    """Return the paths below the archive's HTTP address on pages and in the banner, without placeholders."""
    settings = StandaloneServiceSettings(http_port=8042)
    texts = [banner(settings, Running({}, {"http": 8042, "dicom": 4242}))]
    texts += [page.read_text() for page in pages]
    found = {match[1] or "/" for text in texts for match in _ADDRESS.finditer(text)}
    return {path.rstrip(".,;:") for path in found if not _PLACEHOLDER.search(path)}


def test_every_address_answers(standalone: RunningArchive) -> None:
    first, paths = printed([ROOT / "README.md"]), printed([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert {"/", "/docs", "/dicom-web", "/metrics"} <= first
    answers = {path: httpx.get(standalone.url + path, timeout=60) for path in sorted(paths)}
    # Examples in docs name modalities and studies that are not there; what has no route at all says so.
    assert [path for path, answer in answers.items() if "there is nothing at" in _detail(answer)] == []
    shown = {path: answers[path].status_code for path in first}
    assert {path: status for path, status in shown.items() if status >= 400} == {}


def _detail(answer: httpx.Response) -> str:
    if answer.status_code < 400:
        return ""
    body = answer.json()
    return str(body.get("Details") or body.get("detail"))
