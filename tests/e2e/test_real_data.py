"""All real data at hand: stored over the network, found, and read back equal."""

import hashlib
from collections import defaultdict

import pytest
from pydicom import dcmread

from support.archive import Archive, eventually
from support.data import BUNDLED, REAL, dataset_bytes, storable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_every_file_is_stored_and_comes_back_with_the_bytes_that_were_sent(archive: Archive) -> None:
    files = [*storable(BUNDLED), *(storable(REAL) if REAL.is_dir() else ())]
    expected: dict[str, set[str]] = defaultdict(set)
    for path in files:
        uid = str(dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
        expected[uid].add(hashlib.sha256(dataset_bytes(path)).hexdigest())
    assert set(archive.send(files)) == {0x0000}

    def all_indexed() -> bool:
        return set(expected) <= set(served(archive))

    eventually(all_indexed, seconds=60)
    identifiers = served(archive)
    aside = archive.get("/conflicts?limit=1000").text
    for uid, digests in expected.items():
        digest = hashlib.sha256(dataset_bytes(archive.get(f"/instances/{identifiers[uid]}/file").content)).hexdigest()
        assert digest in digests, uid
        assert len(digests) == 1 or uid in aside


def served(archive: Archive) -> dict[str, str]:
    """Return SOP Instance UID → identifier of all instances."""
    everything = archive.get("/instances?expand").json()
    return {i["MainDicomTags"]["SOPInstanceUID"]: i["ID"] for i in everything}
