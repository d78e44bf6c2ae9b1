"""What an archive makes of every real file at hand: stored or not, its metadata, its picture; and a table of that.

    PYTHONPATH=tests:deploy/local python -m support.archive.file_outcomes

writes docs/every-file.md.
"""

import json
import re
import struct
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path

import httpx
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from support.archive.running import RunningArchive, StandaloneProcess
from support.dicom.real_files import BUNDLED, REAL

PAGE = Path(__file__).resolve().parents[3] / "docs" / "every-file.md"
RENDERED = "rendered"
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_DATA = (".py", ".pyc", ".txt", ".md", ".json")
_numbers = count(1)
_INTRODUCTION = """# What becomes of every file

These are real files of many makes: those of pydicom, corrupt ones included, and public collections: NEMA's WG-04
compression set, CT and MR series, character sets, segmentations, structured reports and RT structure sets. Each was
stored by `POST /instances`, its metadata retrieved as JSON, and a PNG of it by `/rendered`. A file with a known SOP
Instance UID got a new one. `PYTHONPATH=tests:deploy/local python -m support.archive.file_outcomes` writes this page; a
test checks a few files of each kind.

"""


class UnexplainedRefusal(AssertionError):
    """The archive failed, or does not say why it does not do what it was asked for."""


@dataclass(frozen=True, order=True)
class FileKind:
    """What a file is."""

    syntax: str
    photometric: str
    sop_class: str


@dataclass(frozen=True)
class FileOutcome:
    """What became of a file: `RENDERED`, or why not."""

    path: Path
    kind: FileKind
    result: str


def outcome(http: httpx.Client, archive: RunningArchive, path: Path) -> FileOutcome:
    """Store a file, fetch its metadata, and have it rendered. Raises `UnexplainedRefusal`."""
    data = path.read_bytes()
    answer = http.post(f"{archive.url}/instances", content=data)
    if answer.status_code == 200 and answer.json().get("Conflict"):
        # Another file of the collection has its UID; the archive goes on serving that one.
        data = with_other_uid(data)
        answer = http.post(f"{archive.url}/instances", content=data)
    kind = kind_of(data)
    if answer.status_code != 200:
        return FileOutcome(path, kind, f"not stored: {_reason(path, answer)}")
    tags = http.get(f"{archive.url}{answer.json()['Path']}/tags?simplify").json()
    uids = [tags[name] for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    url = "{}/studies/{}/series/{}/instances/{}".format(archive.dicomweb, *uids)
    _check_metadata(path, http.get(f"{url}/metadata"), uids[2])
    picture = http.get(f"{url}/rendered", headers={"Accept": "image/png"})
    if picture.status_code != 200:
        return FileOutcome(path, kind, f"refused: {_reason(path, picture)}")
    _check_png(path, picture.content)
    return FileOutcome(path, kind, RENDERED)


def _check_metadata(path: Path, answer: httpx.Response, uid: str) -> None:
    if answer.status_code != 200:
        raise UnexplainedRefusal(f"{path}: metadata: {answer.status_code} {answer.text[:500]}")
    (found,) = answer.json()
    if found["00080018"]["Value"] != [uid]:
        raise UnexplainedRefusal(f"{path}: metadata of {found['00080018']} instead of {uid}")


def _check_png(path: Path, data: bytes) -> None:
    """Look at the signature, the size, and that the pixels are all there."""
    if not data.startswith(_PNG):
        raise UnexplainedRefusal(f"{path}: no PNG but {data[:20]!r}")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if depth != 8 or colour not in (0, 2):
        raise UnexplainedRefusal(f"{path}: a PNG of {depth} bits and colour type {colour}")
    pixels = zlib.decompress(b"".join(body for name, body in _chunks(data) if name == b"IDAT"))
    if len(pixels) != height * (1 + width * (3 if colour else 1)):
        raise UnexplainedRefusal(f"{path}: {len(pixels)} bytes of pixels for {width} x {height}")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _reason(path: Path, answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except json.JSONDecodeError:
        problem = {}
    reason = problem.get("detail") or problem.get("Details") or ""
    if answer.status_code >= 500 or not reason.strip() or "nobody foresaw" in reason:
        raise UnexplainedRefusal(f"{path}: {answer.status_code} {answer.text[:500]!r}")
    return f"{answer.status_code} {general(reason)}"


def general(reason: str) -> str:
    """Leave out what differs between instances: UIDs, sizes and places."""
    reason = re.sub(r"\b[0-9]+(\.[0-9]+){3,}\b", lambda uid: UID(uid[0]).name, reason)
    return re.sub(r"(?<![\w(,])[0-9]{2,}(?![\w,)-])", "N", reason).replace("|", "/").strip()[:160]


def kind_of(data: bytes) -> FileKind:
    """Return what a file is, as far as pydicom can tell."""
    try:
        wanted = ["PhotometricInterpretation", "SOPClassUID"]
        dataset = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=wanted)
        uids = (dataset.file_meta.get("TransferSyntaxUID"), dataset.get("SOPClassUID"))
        syntax, sop_class = (UID(str(uid)).name if uid else "(none)" for uid in uids)
        return FileKind(syntax, str(dataset.get("PhotometricInterpretation", "")) or "-", sop_class)
    except (InvalidDicomError, NotImplementedError, EOFError, ValueError, TypeError, KeyError, AttributeError):
        return FileKind("(not readable)", "-", "-")


def with_other_uid(data: bytes) -> bytes:
    """Return a file under another SOP Instance UID of the same length."""
    dataset: Dataset = dcmread(BytesIO(data), stop_before_pixels=True)
    old = str(dataset.SOPInstanceUID)
    return data.replace(old.encode(), _counted(old, next(_numbers)).encode())


def _counted(uid: str, number: int) -> str:
    digits = list(uid)
    for at in reversed(range(1, len(digits))):
        if number and digits[at] != "." and digits[at - 1] != ".":
            number, digits[at] = number // 10, str((int(digits[at]) + number) % 10)
    return "".join(digits)


def some_of_each(files: Sequence[Path], most: int) -> list[Path]:
    """Return at most so many files of each kind."""
    found: dict[FileKind, list[Path]] = defaultdict(list)
    for path in files:
        same = found[kind_of(path.read_bytes())]
        if len(same) < most:
            same.append(path)
    return [path for same in found.values() for path in same]


def table(outcomes: Iterable[FileOutcome]) -> str:
    """Return the summary as Markdown: a row a kind of file, and how many were rendered or why they were not."""
    kinds: dict[FileKind, Counter[str]] = defaultdict(Counter)
    for each in outcomes:
        kinds[each.kind][each.result] += 1
    lines = [
        "| transfer syntax | photometric interpretation | SOP class | files | rendered | otherwise |",
        "|---|---|---|--:|--:|---|",
    ]
    for kind, results in sorted(kinds.items()):
        others = "; ".join(f"{number} {why}" for why, number in sorted(results.items()) if why != RENDERED)
        lines.append(
            f"| {kind.syntax} | {kind.photometric} | {kind.sop_class} | {results.total()} | {results[RENDERED]}"
            f" | {others} |"
        )
    return "\n".join(lines)


def files() -> list[Path]:
    """Return all files, whether they are DICOM or not."""
    folders = [BUNDLED.parent, *([REAL] if REAL.is_dir() else [])]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in found if path.suffix not in _NO_DATA]


def outcomes(archive: RunningArchive, paths: Sequence[Path]) -> list[FileOutcome]:
    """Give files to an archive, one after the other; raises `UnexplainedRefusal` with all that it did not explain."""
    found, unexplained = [], []
    with httpx.Client(timeout=120) as http:
        for path in paths:
            try:
                found.append(outcome(http, archive, path))
            except UnexplainedRefusal as error:
                unexplained.append(str(error))
    if unexplained:
        raise UnexplainedRefusal("\n".join(unexplained))
    return found


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        process = StandaloneProcess(Path(folder) / "data")
        try:
            found = outcomes(process.start(), files())
        finally:
            process.stop()
    rendered = sum(each.result == RENDERED for each in found)
    stored = sum(not each.result.startswith("not stored") for each in found)
    text = f"{len(found)} files, of which {stored} were stored and {rendered} rendered.\n\n{table(found)}\n"
    print(text)
    PAGE.write_text(_INTRODUCTION + text)


if __name__ == "__main__":
    main()
