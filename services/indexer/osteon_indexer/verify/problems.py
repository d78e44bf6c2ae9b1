"""Everything that `osteon verify` can find, and what to do about it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from osteon.packs.integrity import Defect

_RESEND: Final = "restore the object from a backup, or send the instances again: the index then uses the new copy"


class ProblemKind(StrEnum):
    """A kind of problem, as the output names it."""

    PACK_LOST = "pack-lost"
    PACK_LENGTH = "pack-length"
    SIDECAR_LOST = "sidecar-lost"
    SIDECAR_DAMAGED = "sidecar-damaged"
    INSTANCE_DAMAGED = "instance-damaged"
    ROWS_MISSING = "rows-missing"
    NOT_INDEXED = "not-indexed"
    PACK_WITHOUT_SIDECAR = "pack-without-sidecar"
    SIDECAR_WITHOUT_PACK = "sidecar-without-pack"
    DECISION_UNKNOWN = "decision-unknown"
    RECONCILIATION_UNKNOWN = "reconciliation-unknown"
    USER_DATA_UNKNOWN = "user-data-unknown"
    UNKNOWN_OBJECT = "unknown-object"


ADVICE: Final = {
    ProblemKind.PACK_LOST: f"{_RESEND}. When another pack has the same bytes, `osteon verify --repair` finds it",
    ProblemKind.PACK_LENGTH: f"{_RESEND}. When another pack has the same bytes, `osteon verify --repair` finds it",
    ProblemKind.SIDECAR_LOST: _RESEND,
    ProblemKind.SIDECAR_DAMAGED: "restore the object from a backup, or delete it and send the instances again",
    ProblemKind.INSTANCE_DAMAGED: "restore the pack from a backup, or delete it and send its instances again",
    ProblemKind.ROWS_MISSING: "the database lost rows: restore it, or run `osteon reindex` on an empty one",
    ProblemKind.NOT_INDEXED: "run `osteon reindex` or `osteon verify --repair`",
    ProblemKind.PACK_WITHOUT_SIDECAR: "it was cut, or release 0.1 was interrupted in its upload: the pack is stored "
    "again from its spool, or by its sender; it can be deleted once its instances are found",
    ProblemKind.SIDECAR_WITHOUT_PACK: "release 0.1 was interrupted in an upload or a deletion: it can be deleted once "
    "its instances are found",
    ProblemKind.DECISION_UNKNOWN: "run `osteon reindex` or `osteon verify --repair`",
    ProblemKind.RECONCILIATION_UNKNOWN: "run `osteon reindex` or `osteon verify --repair`",
    ProblemKind.USER_DATA_UNKNOWN: "run `osteon reindex` or `osteon verify --repair`; what stays was left by an "
    "interrupted change and can be deleted",
    ProblemKind.UNKNOWN_OBJECT: "Osteon did not write it: move it elsewhere",
}
"""What to do about each kind."""


@dataclass(frozen=True, slots=True)
class VerifyProblem:
    """A problem with one object. `repaired`: it was repaired at once."""

    kind: ProblemKind
    key: str
    detail: str
    repaired: bool = False

    @classmethod
    def from_defect(cls, defect: Defect) -> "VerifyProblem":
        """Return a defect of a pack as a problem."""
        return cls(ProblemKind(defect.kind.value), defect.key, defect.detail)


@dataclass(slots=True)
class VerifyProgress:
    """How much is verified so far, and how much there is. `last`: all packs up to this one are verified."""

    packs: int = 0
    of_packs: int = 0
    bytes_read: int = 0
    of_bytes: int = 0
    problems: int = 0
    repaired: int = 0
    indexed: int = 0
    last: str = ""
    by_kind: dict[ProblemKind, int] = field(default_factory=dict)

    def count(self, problem: VerifyProblem) -> None:
        """Add a problem to the sums."""
        self.problems += 1
        self.repaired += problem.repaired
        self.by_kind[problem.kind] = self.by_kind.get(problem.kind, 0) + 1
