"""A running Orthanc that knows an archive, as a modality and as a peer."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from osteon_local.part import free_port
from support.archive.running import RunningArchive, eventually

needs_orthanc = pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed")


@dataclass(frozen=True)
class OrthancServer:
    """Where it is."""

    dicom_port: int
    http: httpx.Client
    aet: str = "ORTHANC"

    @property
    def url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    def instances(self) -> set[str]:
        """Return the SOP Instance UIDs of what it has."""
        found = self.http.get("/instances?expand").raise_for_status().json()
        return {each["MainDicomTags"]["SOPInstanceUID"] for each in found}


@contextmanager
def running_orthanc(
    folder: Path, archive: RunningArchive, *, auth: tuple[str, str] | None = None, **more: object
) -> Iterator[OrthancServer]:
    """Run one on free ports for the block; to it, `archive` is the modality and the peer `osteon`.

    `auth`: its only user and the password, with which `http` logs in. `more`: settings of its own.
    """
    dicom, web = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "orthanc"), "IndexDirectory": str(folder / "orthanc"), "DicomAet": "ORTHANC",
        "DicomPort": dicom, "HttpPort": web, "RemoteAccessAllowed": False, "OverwriteInstances": False,
        "DicomAlwaysAllowGet": True,
        "DicomModalities": {
            "osteon": {
                "AET": archive.aet, "Host": "127.0.0.1", "Port": archive.dicom_port, "AllowGet": True,
                "AllowStorageCommitment": True,
            }
        },
        "OrthancPeers": {"osteon": [archive.url + "/"]},
        **({"AuthenticationEnabled": True, "RegisteredUsers": dict([auth])} if auth else {}),
        **more,
    }  # fmt: skip
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        environment = {**os.environ, "TCP_NODELAY": "1"}
        process = subprocess.Popen(["Orthanc", str(path)], env=environment, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{web}", timeout=60, auth=auth) as http:
                eventually(lambda: _answers(http))
                yield OrthancServer(dicom, http)
        finally:
            process.terminate()
            process.wait(20)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/system").status_code == 200
    except httpx.TransportError:
        return False
