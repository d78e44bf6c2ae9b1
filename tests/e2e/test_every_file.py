"""Every real file at hand is stored, fetched as JSON, and rendered or refused with a reason."""

from pathlib import Path

import pytest

from support.archive.file_outcomes import RENDERED, files, outcomes, some_of_each, table
from support.archive.running import StandaloneProcess
from support.fuzz.case_counts import EFFORT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EACH = 1
"""Files of each kind that are enough without more effort."""


def test_every_file_is_stored_fetched_and_rendered_or_refused_with_a_reason(tmp_path: Path) -> None:
    chosen = some_of_each(files(), EACH) if EFFORT == 1 else files()
    process = StandaloneProcess(tmp_path / "data")
    try:
        found = outcomes(process.start(), chosen)
    finally:
        process.stop()
    print(table(found))
    assert sum(each.result == RENDERED for each in found) > len(found) / 2
