"""What was sent in a storm and what was answered: the other side of every invariant."""

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from support.load.modalities import SUCCESS, ModalityFile


@dataclass
class InstanceRecord:
    """The fate of one data set under one SOP Instance UID, over all times that it was sent."""

    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0


@dataclass
class Ledger:
    """Thread-safe."""

    studies: dict[str, dict[str, dict[str, InstanceRecord]]] = field(default_factory=lambda: defaultdict(dict))
    """Study → SOP Instance UID → SHA-256 of the data set → fate."""
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, image: ModalityFile, status: int | None) -> None:
        """Take note of one sending; None: no answer came."""
        with self._lock:
            sent = self.studies[image.study].setdefault(image.uid, {}).setdefault(image.sha256, InstanceRecord())
            if status is None:
                sent.unanswered += 1
                self.unanswered += 1
                return
            self.statuses[status] += 1
            if status == SUCCESS:
                sent.acknowledged += 1
            else:
                sent.refused += 1

    @property
    def sendings(self) -> int:
        """How often something was sent."""
        return sum(self.statuses.values()) + self.unanswered

    @property
    def acknowledged(self) -> int:
        """Different data sets that were acknowledged."""
        # Copies: senders note more of them meanwhile.
        fates = (fate for uids in [*self.studies.values()] for shas in [*uids.values()] for fate in [*shas.values()])
        return sum(1 for fate in fates if fate.acknowledged)
