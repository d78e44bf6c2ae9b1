"""Associations in logs and metrics."""

from osteon import metrics
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AcceptorObserver, Ended, Rejected
from osteon.logging import get_logger

log = get_logger(__name__)


class AssociationObserver(AcceptorObserver):
    """Counts associations and logs how they begin and end."""

    def accepted(self, info: AssociationInfo) -> None:
        """An association has been accepted."""
        metrics.ASSOCIATIONS_OPEN.inc()
        log.info(
            "association accepted",
            correlation_id=info.id,
            calling=info.calling_aet,
            called=info.called_aet,
            host=info.remote_host,
            implementation=info.implementation_version,
        )

    def rejected(self, info: AssociationInfo, reason: Rejected) -> None:
        """An association has been rejected."""
        metrics.ASSOCIATIONS_TOTAL.labels(result="rejected").inc()
        log.warning(
            "association rejected",
            correlation_id=info.id,
            calling=info.calling_aet,
            called=info.called_aet,
            host=info.remote_host,
            reason=reason.name.lower(),
        )

    def ended(self, info: AssociationInfo, how: Ended) -> None:
        """An accepted association has ended."""
        metrics.ASSOCIATIONS_OPEN.dec()
        metrics.ASSOCIATIONS_TOTAL.labels(result=how.value).inc()
        log.info("association ended", correlation_id=info.id, how=how.value)
