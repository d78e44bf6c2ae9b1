"""Why an instance was refused, as the metric counts it, the same for DIMSE and HTTP."""

from typing import Final

from osteon import metrics
from osteon.contracts.packs import Origin
from osteon.dicom.errors import BadDataSet, BadPart10, TruncatedDataSet, UnknownTransferSyntax
from osteon.dicom.identity import MissingIdentifier
from osteon.errors import Unavailable
from osteon.packs.errors import WrongInstance

_REASONS: Final[dict[type[BaseException], str]] = {
    WrongInstance: "mismatch",
    MissingIdentifier: "identifier",
    TruncatedDataSet: "truncated",
    BadDataSet: "data set",
    UnknownTransferSyntax: "transfer syntax",
    BadPart10: "file",
    Unavailable: "resources",
    OSError: "resources",
}


def count_refusal(origin: Origin, error: Exception) -> None:
    """Count an instance that was received and refused because of `error`."""
    reason = next((_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS), "other")
    metrics.REFUSED_INSTANCES.labels(origin.value, reason).inc()
