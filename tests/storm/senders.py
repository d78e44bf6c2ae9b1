"""The load of a storm: modalities and uploads, each sending study after study until it is told to stop."""

import hashlib
import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from pydicom.uid import generate_uid

from storm.ledger import Ledger
from storm.worlds import StormArchive
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes
from support.load.modalities import SUCCESS, ModalityFile, SendingModality

TIMEOUT = 12.0
_LARGE = 256
_http = httpx.Client(limits=httpx.Limits(keepalive_expiry=1))


class Sender(SendingModality):
    """A modality that writes everything down; an impatient one does not send again what was refused."""

    def __init__(
        self, images: Sequence[ModalityFile], world: StormArchive, ledger: Ledger, *, first: int, patient: bool
    ) -> None:
        ports = world.dicom_ports[first:] + world.dicom_ports[:first]
        super().__init__(images, ports, timeout=TIMEOUT)
        self._ledger = ledger
        self._insists = patient

    def answered(self, image: ModalityFile, status: int | None) -> None:
        """Write it down."""
        super().answered(image, status)
        self._ledger.note(image, status)
        if status not in (None, SUCCESS) and not self._insists:
            self.images = [other for other in self.images if other.uid != image.uid]


class Uploader:
    """Sends images by STOW-RS until each was answered."""

    def __init__(self, images: Sequence[ModalityFile], world: StormArchive, ledger: Ledger, *, first: int) -> None:
        self._waiting = {image.uid: image for image in images}
        self._urls = itertools.islice(itertools.cycle(world.urls), first, None)
        self._ledger = ledger
        self._stop = threading.Event()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    def run(self) -> None:
        """Send until everything was answered."""
        while self._waiting and not self._stop.is_set():
            answers = self._post(next(self._urls))
            for uid, image in list(self._waiting.items()):
                self._ledger.note(image, answers.get(uid))
                if uid in answers:
                    del self._waiting[uid]
            if self._waiting:
                self._stop.wait(0.3)

    def _post(self, url: str) -> dict[str, int]:
        """Return a status for each instance of which the answer says what became of it."""
        head = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + image.path.read_bytes() + b"\r\n" for image in self._waiting.values()) + b"--x--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=x'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        try:
            answer = _http.post(f"{url}/dicom-web/studies", content=body, headers=headers, timeout=2 * TIMEOUT)
        except httpx.HTTPError:
            return {}
        if answer.status_code not in (200, 202, 409):
            return {}
        module = answer.json()
        kept = {_uid(item): SUCCESS for item in module.get("00081199", {}).get("Value", ())}
        failed = module.get("00081198", {}).get("Value", ())
        return kept | {_uid(item): item["00081197"]["Value"][0] for item in failed}


class StormLoad:
    """Senders in threads, `associations` modalities and `uploads`, inside a `with` statement."""

    def __init__(
        self, folder: Path, world: StormArchive, ledger: Ledger, seed: int, *, associations: int, uploads: int
    ):
        self._folder, self._world, self._ledger = folder, world, ledger
        self._stop = threading.Event()
        self._running: set[Sender | Uploader] = set()
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(f"{seed}/{n}"), n >= associations), daemon=True)
            for n in range(associations + uploads)
        ]

    def __enter__(self) -> "StormLoad":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for sender in list(self._running):
            sender.stop()
        for thread in self._threads:
            thread.join(3 * TIMEOUT)

    def _send(self, dice: random.Random, upload: bool) -> None:
        while not self._stop.is_set():
            images = study(self._folder / "sent", dice)
            for batch in self._batches(images, dice):
                sender = self._sender(batch, dice, upload)
                self._running.add(sender)
                if not self._stop.is_set():
                    sender.run()
                self._running.discard(sender)
            for image in images:
                image.path.unlink()
            self._stop.wait(dice.uniform(0.0, 0.6))

    def _batches(self, images: list[ModalityFile], dice: random.Random) -> Iterator[list[ModalityFile]]:
        """The study; now and then some of it once more, or other bytes under its UIDs."""
        yield images
        if dice.random() < 0.3:
            yield images[: dice.randrange(1, len(images) + 1)]
        if dice.random() < 0.2:
            others = [changed(image, dice) for image in images[: dice.randrange(1, 4)]]
            yield others

    def _sender(self, images: list[ModalityFile], dice: random.Random, upload: bool) -> Sender | Uploader:
        first = dice.randrange(len(self._world.dicom_ports))
        if upload:
            return Uploader(images, self._world, self._ledger, first=dice.randrange(len(self._world.urls)))
        return Sender(images, self._world, self._ledger, first=first, patient=dice.random() < 0.8)


def study(folder: Path, dice: random.Random) -> list[ModalityFile]:
    """Make a study of one series; a few of its slices are large."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    made = []
    for number in range(1, dice.randrange(3, 16)):
        large = {"Rows": _LARGE, "Columns": _LARGE, "PixelData": dice.randbytes(2 * _LARGE * _LARGE)}
        dataset = ct_slice(study=study, series=series, number=number, **(large if dice.random() < 0.15 else {}))
        made.append(_image(saved(dataset, folder), str(dataset.SOPInstanceUID), study))
    return made


def changed(image: ModalityFile, dice: random.Random) -> ModalityFile:
    """Make other bytes under the UIDs of an image, in the same file."""
    file = bytearray(image.path.read_bytes())
    file[-100:] = dice.randbytes(100)
    image.path.write_bytes(file)
    return _image(image.path, image.uid, image.study)


def _image(path: Path, uid: str, study: str) -> ModalityFile:
    return ModalityFile(path, uid, study, hashlib.sha256(dataset_bytes(path)).hexdigest())


def _uid(item: dict[str, dict[str, list[str]]]) -> str:
    return item["00081155"]["Value"][0]


def canary(folder: Path, world: StormArchive, ledger: Ledger, *, seconds: float) -> float | None:
    """Return after how many seconds a new instance at each door was found through each HTTP door; None: never."""
    started = time.monotonic()
    dice = random.Random(0)
    waiting = [(port, study(folder / "canaries", dice)[:1]) for port in range(len(world.dicom_ports))]
    for first, images in waiting:
        sender = Sender(images, world, ledger, first=first, patient=True)
        timer = threading.Timer(seconds, sender.stop)
        timer.start()
        sender.run()
        timer.cancel()
    while time.monotonic() - started < seconds:
        uids = [images[0].study for _, images in waiting]
        if all(_found(url, uid) for url in world.urls for uid in uids) and world.ready():
            return time.monotonic() - started
        time.sleep(0.1)
    return None


def _found(url: str, study: str) -> bool:
    with suppress(httpx.HTTPError):
        answer = _http.get(f"{url}/dicom-web/studies", params={"StudyInstanceUID": study}, timeout=TIMEOUT)
        return answer.status_code == 200 and len(answer.json()) == 1
    return False
