"""A running Osteon, as its users see it: an AE title and two ports. `standalone` and `cluster` behave alike."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydicom import Dataset, dcmread
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE, Association, _config

from osteon_local.part import free_port
from support.dicom.real_files import dataset_bytes

T = TypeVar("T")
_http = httpx.Client(timeout=60)
_config.STORE_SEND_CHUNKED_DATASET = True  # send the bytes of the file, not what pydicom makes of them


@dataclass(frozen=True)
class RunningArchive:
    """Where an archive is, and what tests do with it."""

    dicom_port: int
    url: str
    aet: str = "OSTEON"

    @property
    def dicomweb(self) -> str:
        """Base URL of DICOMweb."""
        return f"{self.url}/dicom-web"

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        """GET below the base URL; fails the test on an HTTP error."""
        return _http.get(self.url + path, **arguments).raise_for_status()

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        """POST below the base URL; fails the test on an HTTP error."""
        return _http.post(self.url + path, **arguments).raise_for_status()

    @contextmanager
    def association(self, *contexts: tuple[str, str] | str, calling: str = "TESTS") -> Iterator[Association]:
        """Associate for (SOP class, transfer syntax) pairs, and release at the end."""
        client = AE(calling)
        for context in contexts:
            client.add_requested_context(*([context] if isinstance(context, str) else context))
        client.dimse_timeout = client.network_timeout = 60
        association = client.associate("127.0.0.1", self.dicom_port, ae_title=self.aet)
        assert association.is_established, "the archive did not accept the association"
        keep_answers(association)
        # Otherwise the end of each instance waits for the delayed acknowledgement of what came before it.
        association.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            yield association
        finally:
            association.release()

    def send(self, paths: list[Path]) -> list[int]:
        """C-STORE files as they are, in associations of at most 100 presentation contexts; returns the statuses."""
        kinds = {path: _kind(path) for path in paths}
        statuses: list[int] = []
        pending = sorted(paths, key=lambda path: kinds[path])
        while pending:
            group: list[Path] = []
            contexts: set[tuple[str, str]] = set()
            while pending and len(contexts | {kinds[pending[0]]}) <= 100:
                contexts.add(kinds[pending[0]])
                group.append(pending.pop(0))
            with self.association(*sorted(contexts)) as association:
                statuses += [_store(association, path) for path in group]
        return statuses

    def find(self, model: str, **keys: Any) -> list[Dataset]:
        """C-FIND with the keys given by keyword; fails the test unless the final status is success."""
        identifier = Dataset()
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        with self.association(model) as association:
            responses = list(association.send_c_find(identifier, model))
        assert responses[-1][0].Status == 0x0000, responses[-1][0]
        return [dataset for status, dataset in responses if status.Status in (0xFF00, 0xFF01) and dataset]


def keep_answers(association: Association) -> None:
    """Put back the answers that pynetdicom's own thread sometimes takes from the queue before who waits for them."""
    association._serve_request = lambda message, context: association.dimse.msg_queue.put((context, message))


def _store(association: Association, path: Path) -> int:
    # pynetdicom takes the command's UID from the file meta information; some real files have another one there.
    dataset = dcmread(path, stop_before_pixels=True)
    if dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID:
        return int(association.send_c_store(path).get("Status", -1))
    with tempfile.NamedTemporaryFile(suffix=".dcm") as copy:
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        copy.write(bytes(128) + b"DICM")
        write_file_meta_info(copy, dataset.file_meta)
        copy.write(dataset_bytes(path))
        copy.flush()
        return int(association.send_c_store(Path(copy.name)).get("Status", -1))


def _kind(path: Path) -> tuple[str, str]:
    meta = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return UID(meta.SOPClassUID), UID(meta.file_meta.TransferSyntaxUID)


def eventually(check: Callable[[], T], *, seconds: float = 90) -> T:
    """Return the first true result of `check`; fails the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if result := check():
            return result
        assert time.monotonic() < deadline, f"still not true after {seconds} s: {check}"
        time.sleep(0.05)


class StandaloneProcess:
    """`osteon standalone` in a process of its own, on a data folder that survives it."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.dicom_port, http_port = free_port(), free_port()
        self.archive = RunningArchive(self.dicom_port, f"http://127.0.0.1:{http_port}")
        self.log = data.with_suffix(".log")
        ports = {"OSTEON_DICOM_PORT": str(self.dicom_port), "OSTEON_HTTP_PORT": str(http_port)}
        self._environment = self.environment(data, ports | settings)
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def environment(data: Path, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the variables for a process."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OSTEON_")}
        own = {"OSTEON_DATA": str(data), "OSTEON_DEMO": "0", "OSTEON_LOG_LEVEL": "INFO"}
        return {**inherited, **own, **settings}

    def start(self) -> RunningArchive:
        """Start and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "osteon.cli", "standalone"], env=self._environment, stdout=log, stderr=log
            )
        eventually(self._ready, seconds=120)
        return self.archive

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process
        return self._process.pid

    def _ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, f"standalone ended:\n{self.log.read_text()[-4000:]}"
        with suppress(httpx.HTTPError):
            return _http.get(self.archive.url + "/readyz").status_code == 200
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self._process
        self._process.send_signal(number)
        return self._process.wait(60)
