"""Modalities that send while something breaks, and the proof that nothing of what they were told is lost."""

import hashlib
import itertools
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from osteon_local.cluster import Cluster
from support.archive.running import RunningArchive, eventually, keep_answers
from support.bus.dead_letters import dead_letters
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes

SUCCESS = 0x0000
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it reports each attempt to reach a killed service


@dataclass(frozen=True)
class ModalityFile:
    """A file that a modality has."""

    path: Path
    uid: str
    study: str
    sha256: str


def images(folder: Path, *, series: int = 1, slices: int = 60, study: str = "") -> list[ModalityFile]:
    """Make the files of a study."""
    folder.mkdir(parents=True, exist_ok=True)
    study = study or generate_uid()
    made = []
    for series_uid in (generate_uid() for _ in range(series)):
        for number in range(1, slices + 1):
            dataset = ct_slice(study=study, series=series_uid, number=number)
            path = saved(dataset, folder)
            digest = hashlib.sha256(dataset_bytes(path)).hexdigest()
            made.append(ModalityFile(path, str(dataset.SOPInstanceUID), study, digest))
    return made


@dataclass(eq=False)
class SendingModality:
    """Sends its files to one of the ports, again and again until each was acknowledged, as real ones do."""

    images: Sequence[ModalityFile]
    ports: Sequence[int]
    name: str = "MODALITY"
    patient: bool = True
    """Whether to associate again after a lost association; otherwise it gives up."""
    acknowledged: dict[str, ModalityFile] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    associations: int = 0
    slowest: float = 0.0
    timeout: float = 40.0
    """Seconds to wait for each answer."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send until everything was acknowledged."""
        ports = itertools.cycle(self.ports)
        while (waiting := [i for i in self.images if i.uid not in self.acknowledged]) and not self._stop.is_set():
            if self.associations and not self.patient:
                return
            self._associate(next(ports), waiting)
            if len(self.acknowledged) < len(self.images):
                self._stop.wait(0.1)

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    def answered(self, image: ModalityFile, status: int | None) -> None:
        """Take note of an answer; None: there was none, and nobody knows whether the image arrived."""
        if status == SUCCESS:
            self.acknowledged[image.uid] = image
        elif status is not None:
            self.refused.append(status)

    def _associate(self, port: int, waiting: Sequence[ModalityFile]) -> None:
        client = AE(self.name)
        client.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        client.acse_timeout = client.dimse_timeout = client.network_timeout = self.timeout
        association = client.associate("127.0.0.1", port, ae_title="OSTEON")
        if not association.is_established:
            return
        self.associations += 1
        keep_answers(association)
        try:
            for image in waiting:
                started = time.monotonic()
                status = association.send_c_store(image.path).get("Status")
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.answered(image, status)
                if status is None or self._stop.is_set():
                    return
        except (RuntimeError, ValueError):  # pynetdicom's word for an association that is gone
            self.answered(image, None)
        finally:
            with suppress(RuntimeError):
                association.release() if association.is_established else association.abort()


class ModalityLoad:
    """Several modalities at once, each with files of its own."""

    def __init__(self, folder: Path, ports: Sequence[int], *, associations: int = 4, slices: int = 60) -> None:
        self.modalities = [
            SendingModality(
                images(folder / str(number), slices=slices), ports[number % len(ports) :] or ports, f"CT{number}"
            )
            for number in range(associations)
        ]
        self._threads = [threading.Thread(target=modality.run, daemon=True) for modality in self.modalities]

    def __enter__(self) -> "ModalityLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for modality in self.modalities:
            modality.stop()
        for thread in self._threads:
            thread.join(60)

    @property
    def acknowledged(self) -> dict[str, ModalityFile]:
        """Everything that was answered with success so far."""
        return {uid: image for modality in self.modalities for uid, image in list(modality.acknowledged.items())}

    @property
    def total(self) -> int:
        """How many files there are."""
        return sum(len(modality.images) for modality in self.modalities)

    @property
    def refused(self) -> list[int]:
        """Statuses other than success."""
        return [status for modality in self.modalities for status in modality.refused]

    @property
    def associations(self) -> int:
        """How many associations it took."""
        return sum(modality.associations for modality in self.modalities)

    def reaches(self, count: int) -> None:
        """Wait until so many files were acknowledged."""
        eventually(lambda: len(self.acknowledged) >= count)

    def ends(self, seconds: float = 60) -> None:
        """Wait until every file was acknowledged."""
        eventually(lambda: len(self.acknowledged) == self.total, seconds=seconds)


def archive_of(cluster: Cluster) -> RunningArchive:
    """Return the cluster as its users see it."""
    return RunningArchive(cluster.dicom_port, cluster.url)


def nothing_lost(
    cluster: Cluster, acknowledged: dict[str, ModalityFile], *, sent: Sequence[ModalityFile] = (), seconds: float = 60
) -> None:
    """Fail unless each image is there with its own bytes, one row each, and no message is parked.

    Of what was `sent`, images that were not acknowledged may be there too: their answers were lost.
    """
    archive = archive_of(cluster)
    by_study: dict[str, dict[str, str]] = {}
    for image in acknowledged.values():
        by_study.setdefault(image.study, {})[image.uid] = image.sha256
    for study, expected in by_study.items():
        rows = eventually(partial(rows_of, archive, study, set(expected)), seconds=seconds)
        assert rows == sorted(set(rows))
        files = retrieved(archive, study)
        perhaps = {image.uid: image.sha256 for image in sent if image.uid in files}
        assert files == expected | perhaps
    spool = cluster.data / "spool"
    eventually(lambda: not [*spool.glob("*/*.tar*"), *spool.glob("*/*.open")], seconds=seconds)
    assert dead_letters(cluster.parts.rabbitmq.url) == []


def rows_of(archive: RunningArchive, study: str, expected: set[str]) -> list[str]:
    """Return what is found of a study once each instance that is expected has a row."""
    rows = found(archive, study)
    return rows if expected <= set(rows) else []


def found(archive: RunningArchive, study: str) -> list[str]:
    """Return the SOP Instance UIDs that QIDO-RS finds, one for each row; nothing while a part is down."""
    try:
        answer = httpx.get(f"{archive.dicomweb}/studies/{study}/instances", params={"limit": 5000}, timeout=40)
    except httpx.HTTPError:
        return []
    return sorted(row["00080018"]["Value"][0] for row in answer.json()) if answer.status_code == 200 else []


def retrieved(archive: RunningArchive, study: str) -> dict[str, str]:
    """Return SOP Instance UID and SHA-256 of the data set of each instance that WADO-RS gives."""
    answer = archive.get(
        f"/dicom-web/studies/{study}",
        headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
    )
    boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    parts = answer.content.split(b"--" + boundary)[1:-1]
    files = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]
    return {_uid(file): hashlib.sha256(dataset_bytes(file)).hexdigest() for file in files}


def _uid(file: bytes) -> str:
    at = file.index(b"\x08\x00\x18\x00UI") + 6
    length = int.from_bytes(file[at : at + 2], "little")
    return str(UID(file[at + 2 : at + 2 + length].decode().rstrip("\0")))
