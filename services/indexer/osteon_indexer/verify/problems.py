"""Everything that `osteon verify` can find, and what to do about it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from osteon.packs.integrity import Defect

_RESEND: Final = "restore the object from a backup, or send the instances again: the rows then follow the new copy"


class Kind(StrEnum):
    """A kind of problem, as it is called in the output."""

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
    UNKNOWN_OBJECT = "unknown-object"


ADVICE: Final = {
    Kind.PACK_LOST: f"{_RESEND}. When another pack has the same bytes, `osteon verify --repair` finds it",
    Kind.PACK_LENGTH: f"{_RESEND}. When another pack has the same bytes, `osteon verify --repair` finds it",
    Kind.SIDECAR_LOST: _RESEND,
    Kind.SIDECAR_DAMAGED: "restore the object from a backup, or delete it and send the instances again",
    Kind.INSTANCE_DAMAGED: "restore the pack from a backup, or delete it and send its instances again",
    Kind.ROWS_MISSING: "the database lost rows: restore it, or let `osteon reindex` fill an empty one",
    Kind.NOT_INDEXED: "`osteon reindex`, or `osteon verify --repair`",
    Kind.PACK_WITHOUT_SIDECAR: "an upload was broken off: the pack is stored again from its spool, or by its sender; "
    "an older one may be deleted once its instances are found",
    Kind.SIDECAR_WITHOUT_PACK: "an upload or a deletion was broken off: may be deleted once its instances are found",
    Kind.DECISION_UNKNOWN: "`osteon reindex`, or `osteon verify --repair`",
    Kind.UNKNOWN_OBJECT: "Osteon did not write it: move it elsewhere",
}
"""What to do about each kind."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with one object. `repaired`: it was, at once."""

    kind: Kind
    key: str
    detail: str
    repaired: bool = False

    @classmethod
    def of(cls, flaw: Defect) -> "Problem":
        """Return the problem that a flaw of a pack is."""
        return cls(Kind(flaw.kind.value), flaw.key, flaw.detail)


@dataclass(slots=True)
class Tally:
    """What has been looked at so far, and how much there is. `last` is the pack up to which all was."""

    packs: int = 0
    of_packs: int = 0
    bytes_read: int = 0
    of_bytes: int = 0
    problems: int = 0
    repaired: int = 0
    indexed: int = 0
    last: str = ""
    by_kind: dict[Kind, int] = field(default_factory=dict)

    def count(self, problem: Problem) -> None:
        """Add a problem."""
        self.problems += 1
        self.repaired += problem.repaired
        self.by_kind[problem.kind] = self.by_kind.get(problem.kind, 0) + 1
