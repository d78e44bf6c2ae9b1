"""docs/dicomweb.md: what stands there can be typed in."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from support.archive.running import RunningArchive
from support.dicom.datasets import ct_slice, saved

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]

PAGE = (Path(__file__).parents[2] / "docs" / "dicomweb.md").read_text()
LINES = [line for line in re.findall(r"`(curl [^`]*)`", PAGE) if "$" in line]


@pytest.fixture(scope="module")
def example(standalone: RunningArchive, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A data set of three frames, which is in the archive and in `a.dcm`."""
    pixels = {"Rows": 32, "Columns": 32, "NumberOfFrames": "3", "PixelData": bytes(3 * 2 * 32 * 32)}
    dataset = ct_slice(PatientID=generate_uid()[-16:], **pixels)
    path = saved(dataset, tmp_path_factory.mktemp("example"))
    standalone.post("/instances", content=path.read_bytes())
    path.rename(path.with_name("a.dcm"))
    dataset.filename = str(path.with_name("a.dcm"))
    return dataset


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", LINES)
def test_a_line_with_curl_is_answered(standalone: RunningArchive, example: Dataset, line: str, tmp_path: Path) -> None:
    variables = {"STUDY": example.StudyInstanceUID, "SERIES": example.SeriesInstanceUID}
    variables["INSTANCE"] = example.SOPInstanceUID
    names = next(row for row in PAGE.splitlines() if row.startswith("S=$WEB"))
    told = line.replace("127.0.0.1:8042", standalone.url).replace("@a.dcm", f"@{example.filename}")
    command = f"WEB={standalone.dicomweb}; {names}; {told} -s -w '%{{stderr}}%{{http_code}}'"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, check=False
    )
    assert done.stderr in (b"200", b"204", b"206"), (done.stderr, done.stdout[:500])


def test_the_lines_with_dicomweb_client_run(
    standalone: RunningArchive, example: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    own = found[1].replace("http://127.0.0.1:8042", standalone.url).replace('"*"', f'"{example.PatientID}"')
    exec(compile(own, "docs/dicomweb.md", "exec"), {})
    assert "stored" in capsys.readouterr().out
