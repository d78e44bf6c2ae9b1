"""The status that a peer gets for a failure, by the kind of failure and the service: the one place that decides it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.errors import FailureKind, OsteonError

_MAX_COMMENT: Final = 64


@dataclass(frozen=True, slots=True)
class FailureStatuses:
    """The statuses of one service; `default` is for the kinds that have none of their own."""

    by_kind: Mapping[FailureKind, Status]
    default: Status

    def outcome(self, error: OsteonError) -> Outcome:
        """Return the status for an error, with its text as Error Comment (0000,0902): LO, ASCII, no backslash."""
        text = str(error).replace("\\", "/").replace("\n", " ").encode("ascii", "replace").decode()
        return Outcome(self.by_kind.get(error.kind, self.default), text[:_MAX_COMMENT])


FIND_STATUSES: Final = FailureStatuses(
    {
        FailureKind.UNAVAILABLE: Status.OUT_OF_RESOURCES,
        FailureKind.INVALID: Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    },
    default=Status.UNABLE_TO_PROCESS,
)
"""C-FIND (PS3.4 Table C.4-1)."""
RETRIEVE_STATUSES: Final = FailureStatuses(
    {
        FailureKind.UNAVAILABLE: Status.UNABLE_TO_CALCULATE_MATCHES,
        FailureKind.INVALID: Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
        FailureKind.NOT_FOUND: Status.MOVE_DESTINATION_UNKNOWN,
    },
    default=Status.UNABLE_TO_PROCESS,
)
"""C-MOVE and C-GET that cannot begin (PS3.4 Tables C.4-2 and C.4-3)."""
SUBOPERATION_STATUSES: Final = FailureStatuses({}, default=Status.UNABLE_TO_PERFORM_SUB_OPERATIONS)
"""C-MOVE that has begun."""
COMMITMENT_STATUSES: Final = FailureStatuses(
    {
        FailureKind.INVALID: Status.INVALID_ARGUMENT_VALUE,
        FailureKind.UNREADABLE: Status.INVALID_ARGUMENT_VALUE,
        FailureKind.NOT_FOUND: Status.INVALID_ARGUMENT_VALUE,
        FailureKind.UNSUPPORTED: Status.NO_SUCH_EVENT_TYPE,
        FailureKind.REFUSED: Status.NOT_AUTHORIZED,
    },
    default=Status.PROCESSING_FAILURE,
)
"""N-ACTION and N-EVENT-REPORT of storage commitment (PS3.7 10.1.4.1.10, 10.1.1.1.8)."""
