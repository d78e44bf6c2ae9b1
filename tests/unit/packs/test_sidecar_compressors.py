"""Compressors that are used again make the same sidecars as new ones, also after one that failed half-way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from osteon.contracts.packs import Origin, PackStored
from osteon.dicom.header.model import Header
from osteon.dicom.identity import Identity
from osteon.packs import sidecar
from osteon.packs.sidecar import SidecarLine

FACTS = PackStored(
    correlation_id="a1", pack_id="p1", study_uid="1.2", series_uid="1.2.3", origin=Origin.DIMSE,
    received_at=datetime(2026, 1, 1, tzinfo=UTC), instances=3, size=4096,
)  # fmt: skip
LINES = [
    SidecarLine(
        Identity("P", "1.2", "1.2.3", f"1.9.{number}", "1.2.840.10008.5.1.4.1.1.2"),
        "1.2.840.10008.1.2.1", 512 * number, 400, 300, bytes(32), bytes(16), Header(b'{"00100020":{"vr":"LO"}}'),
    )
    for number in range(3)
]  # fmt: skip


def test_the_same_lines_make_the_same_sidecar_in_every_thread() -> None:
    first = sidecar.encode(FACTS, LINES)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: sidecar.encode(FACTS, LINES), range(64))) == {first}
    facts, lines = sidecar.decode(first)
    assert (facts, [line.identity for line in lines]) == (FACTS, [line.identity for line in LINES])


def test_a_sidecar_that_failed_leaves_nothing_in_the_next() -> None:
    def failing() -> Iterator[SidecarLine]:
        yield LINES[0]
        raise OSError("the file is gone")

    before = sidecar.encode(FACTS, LINES)
    with pytest.raises(OSError, match="gone"):
        sidecar.encode(FACTS, failing())
    assert sidecar.encode(FACTS, LINES) == before
