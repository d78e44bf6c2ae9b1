"""While one peer floods a running archive, others' C-ECHO and QIDO-RS requests are answered."""

import threading

import httpx
import pytest
from pynetdicom.sop_class import Verification

from support.archive.running import RunningArchive
from support.dimse.attacks import ASSOCIATION_ATTACKS, REQUEST_ATTACKS, Attack, flood

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("archives")]
REQUESTS = 5


class Flood(threading.Thread):
    """Repeats an attack until it is stopped."""

    def __init__(self, port: int, attack: Attack) -> None:
        super().__init__(daemon=True)
        self._port, self._attack = port, attack
        self.began, self.stopped = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Attack."""
        data = self._attack.make(self._attack.size)
        self.began.set()
        try:
            while not self.stopped.is_set():
                flood(self._port, self._attack, data)
        except Exception as error:
            self.failure = error


@pytest.mark.parametrize("attack", (*ASSOCIATION_ATTACKS, *REQUEST_ATTACKS), ids=lambda each: each.name)
def test_others_are_answered_during_a_flood(standalone: RunningArchive, attack: Attack) -> None:
    flooding = Flood(standalone.dicom_port, attack)
    flooding.start()
    flooding.began.wait()
    try:
        for _ in range(REQUESTS):
            found = httpx.get(f"{standalone.url}/dicom-web/studies?limit=1", timeout=60)
            assert found.status_code in (200, 204)
            with standalone.association(Verification) as association:
                assert association.send_c_echo().Status == 0x0000
        assert flooding.is_alive(), flooding.failure
    finally:
        flooding.stopped.set()
        flooding.join(120)
    assert flooding.failure is None
