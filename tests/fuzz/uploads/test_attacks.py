"""What a small request may cost: memory of the process, and time of its event loop."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from osteon.dicom.part10 import write_part10_header
from support.dicom.elements import explicit, item, sequence
from support.query.attacks import ATTACKS, Attack, pieces
from support.spool.instances import CT, EXPLICIT, data_set

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MEMORY = 256 << 20
STEP_SECONDS = 0.4
"""Four times what a quiet machine may take."""


INSTANCE = "/dicom-web/studies/1.2/series/1.2.3/instances/1.9.1"
"""Where `data_set` says that it is."""
READS = [
    f"{INSTANCE}/frames/1", f"{INSTANCE}/rendered", f"{INSTANCE}/bulkdata", "/instances/{ID}/frames",
    "/wado?requestType=WADO&studyUID=1.2&seriesUID=1.2.3&objectUID=1.9.1", "/instances/{ID}/frames/0/raw",
    "/instances/{ID}/pdf", "/instances/{ID}/metadata?expand", "/studies/{ParentStudy}/shared-tags",
]  # fmt: skip


class Server:
    """A process with the HTTP door, and its anonymous memory at most."""

    def __init__(self, folder: Path) -> None:
        tests = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.query.server", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": tests},
            text=True,
        )
        self.port = int(self._line())
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _watch(self) -> None:
        status = Path(f"/proc/{self._process.pid}/status")
        with suppress(OSError, StopIteration):
            while True:
                lines = status.read_text().splitlines()
                self.peak = max(self.peak, next(int(x.split()[1]) << 10 for x in lines if x.startswith("RssAnon")))
                time.sleep(0.005)

    def longest_step(self) -> float:
        """Return the longest step of the event loop since the last call, in seconds of processor time."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("attacked"))
    yield running
    running.stop()


async def exchange(port: int, attack: Attack) -> bytes:
    """Send an attack; returns the first line of the answer, empty when the connection was cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.readline())
    try:
        for piece in pieces(attack, attack.body()):
            writer.write(piece)
            await writer.drain()
            if answer.done():
                break
        return await answer
    except ConnectionError:
        return b""
    finally:
        answer.cancel()
        writer.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_no_request_takes_more_memory_or_loop_time_than_it_may(server: Server, attack: Attack) -> None:
    server.longest_step()
    answer = await exchange(server.port, attack)
    assert not answer or answer.split()[1] in (b"200", b"202", b"400", b"409", b"413"), answer
    assert server.peak < MEMORY
    assert server.longest_step() < STEP_SECONDS
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


def test_no_request_about_a_large_header_takes_more_loop_time_than_it_may(server: Server) -> None:
    one = item(sequence(0x00209113, item(explicit(0x00200032, "DS", b"1\\2\\3 "))))
    file = write_part10_header(CT, "1.9.1", EXPLICIT) + data_set("1.9.1") + sequence(0x00720600, *[one] * 40_000)
    steps: dict[str, float] = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=120) as client:
        server.longest_step()
        stored = client.post("/instances", content=file).raise_for_status().json()
        steps["POST"] = server.longest_step()
        for path in READS:
            assert client.get(path.format_map(stored)).status_code != 500
            steps[path] = server.longest_step()
    assert {path: seconds for path, seconds in steps.items() if seconds >= STEP_SECONDS} == {}
