"""The whole process under attack, while a modality sends: it lives, stays small, keeps no scraps and loses nothing."""

import random
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.archive.running import RunningArchive, StandaloneProcess, eventually
from support.dicom.datasets import ct_slice, saved
from support.dimse.raw_peer import data_tf, pdu, pdv, request_pdu, store_message, store_rq
from support.fuzz.acceptor import ABORT, CONTEXTS
from support.fuzz.case_counts import EFFORT

pytestmark = pytest.mark.slow
REQUEST = request_pdu(CONTEXTS)
ALLOWANCE = 80 << 20
"""Bytes that the process may have more than before: what 40 streams hold at once, and what the allocator keeps."""


@contextmanager
def connected(archive: RunningArchive, *, reset: bool = False) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", archive.dicom_port), timeout=20) as peer:
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(ConnectionError):
            yield peer


def abandoned_instance(archive: RunningArchive, dice: random.Random) -> None:
    """Send a part of an instance of some megabytes, then go."""
    data_set = bytes.fromhex("08001800554908") + bytes(3)
    with connected(archive, reset=dice.random() < 0.5) as peer:
        peer.sendall(REQUEST + data_tf(pdv(1, 3, store_rq(1, f"1.2.{dice.randrange(10**9)}"))))
        for _ in range(dice.randrange(1, 8)):
            peer.sendall(data_tf(pdv(1, 0, data_set + dice.randbytes(500_000))))
        if dice.random() < 0.5:
            peer.sendall(ABORT)


def rubbish(archive: RunningArchive, dice: random.Random) -> None:
    """Send random bytes, PDUs or half an instance, in an association or in none."""
    with connected(archive, reset=dice.random() < 0.5) as peer:
        opening = REQUEST if dice.random() < 0.7 else b""
        whole = store_message(data=dice.randbytes(2000))
        peer.sendall(
            opening
            + dice.choice(
                [
                    dice.randbytes(dice.randrange(1, 3000)),
                    pdu(dice.randrange(256), dice.randbytes(50), dice.choice([0, 50, 2**32 - 1])),
                    data_tf(pdv(dice.randrange(256), dice.randrange(256), dice.randbytes(100))),
                    whole[: dice.randrange(len(whole))],
                    b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(200),
                ]
            )
        )


def health_check(archive: RunningArchive, dice: random.Random) -> None:
    """Connect and close."""
    with connected(archive, reset=dice.random() < 0.5):
        pass


def metric(archive: RunningArchive, name: str, label: str = "") -> float:
    lines = archive.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith(name) and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.fixture
def process(tmp_path: Path) -> Iterator[StandaloneProcess]:
    limits = {"MAX_ASSOCIATIONS": "100", "MAX_WAITING_CONNECTIONS": "100", "DIMSE_TIMEOUT_SECONDS": "3",
              "ARTIM_TIMEOUT_SECONDS": "3"}  # fmt: skip
    running = StandaloneProcess(tmp_path / "data", **{f"OSTEON_{name}": value for name, value in limits.items()})
    running.start()
    yield running
    assert running.stop() == 0


def test_an_archive_under_attack_goes_on_storing_and_is_as_before_when_it_is_over(
    process: StandaloneProcess, tmp_path: Path
) -> None:
    slices = [saved(ct_slice(study="1.2.9", series=f"1.2.9.{n % 3}", number=n), tmp_path) for n in range(60)]
    archive = process.archive
    assert archive.send(slices[:2]) == [0, 0]
    attacks = [(rubbish, 400 * EFFORT), (health_check, 2000 * EFFORT), (abandoned_instance, 40 * EFFORT)]
    before, files_before = memory(process.pid), files(process.pid)
    statuses: list[int] = []
    sending = threading.Thread(target=lambda: statuses.extend(archive.send(slices[2:])))
    with ThreadPoolExecutor(16) as attackers:
        idle = [socket.create_connection(("127.0.0.1", archive.dicom_port)) for _ in range(150)]
        for peer in idle[:20]:
            peer.sendall(REQUEST + store_message(data=bytes(100))[:150])
        sending.start()
        jobs = [(attack, n) for attack, count in attacks for n in range(count)]
        random.Random(1).shuffle(jobs)
        for job in [attackers.submit(attack, archive, random.Random(n)) for attack, n in jobs]:
            job.result()
        sending.join()
    assert statuses == [0] * 58
    eventually(lambda: metric(archive, "osteon_associations_open") == 0)
    for peer in idle:
        peer.close()
    eventually(lambda: archive.get("/statistics").json()["CountInstances"] == 60)
    spool = tmp_path / "data" / "spool"
    stays = {".lock", "lock", "modalities.json"}
    eventually(lambda: not [path for path in spool.rglob("*") if path.is_file() and path.name not in stays])
    eventually(lambda: files(process.pid) <= files_before + 5)
    assert memory(process.pid) < before + ALLOWANCE
    for how in ("lost", "protocol_error", "timed_out"):
        assert metric(archive, "osteon_connections_without_association_total", f'result="{how}"') > 0
        assert metric(archive, "osteon_associations_total", f'result="{how}"') > 0
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "[error" not in log
