"""All real data at hand: stored over the network, found, and read back equal."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread

from support.archive.running import RunningArchive, eventually
from support.dicom.real_files import BUNDLED, dataset_bytes, real_folder, storable
from support.fuzz.case_counts import thinned

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives"), pytest.mark.timeout(600)]


def test_every_bundled_file_is_stored_and_comes_back_with_the_bytes_that_were_sent(archive: RunningArchive) -> None:
    send_and_fetch(archive, storable(BUNDLED))


def test_every_real_file_is_stored_and_comes_back_with_the_bytes_that_were_sent(standalone: RunningArchive) -> None:
    send_and_fetch(standalone, thinned(storable(real_folder())))


def send_and_fetch(archive: RunningArchive, files: Sequence[Path]) -> None:
    expected: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in files:
        uid = str(dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
        expected[uid][hashlib.sha256(dataset_bytes(path)).hexdigest()] = path
    assert set(archive.send(files)) == {0x0000}
    identifiers = {uid: eventually(partial(identifier, archive, uid), seconds=60) for uid in expected}
    aside = archive.get("/conflicts?limit=1000").text
    for uid, versions in expected.items():
        digest = hashlib.sha256(dataset_bytes(archive.get(f"/instances/{identifiers[uid]}/file").content)).hexdigest()
        assert digest in versions, uid
        if len(versions) > 1:
            assert uid in aside or len({_content(path) for path in versions.values()}) == 1, uid


def _content(path: Path) -> bytes:
    """Return the samples of an image, whatever their encoding, or what else an instance says."""
    dataset = dcmread(path)
    if "PixelData" in dataset:
        return bytes(dataset.pixel_array.astype("<i4").tobytes())
    return dataset.to_json().encode()


def identifier(archive: RunningArchive, uid: str) -> str:
    """Return the identifier of an instance; empty when it is not found yet."""
    found = archive.post("/tools/lookup", content=uid).json()
    return next((each["ID"] for each in found if each["Type"] == "Instance"), "")
