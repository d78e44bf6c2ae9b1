"""Counts associations in metrics. The upper layer logs them."""

from typing_extensions import override

from osteon import metrics
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AcceptorObserver, AssociationEnd, AssociationLimit, RejectReason

for _limit in AssociationLimit:
    metrics.ASSOCIATIONS_LIMITED.labels(_limit)  # from 0 on: alerts see the first one


class AssociationObserver(AcceptorObserver):
    """Counts associations by how they ended."""

    @override
    def accepted(self, info: AssociationInfo) -> None:
        """An association has been accepted."""
        metrics.ASSOCIATIONS_OPEN.inc()

    @override
    def rejected(self, info: AssociationInfo, reason: RejectReason) -> None:
        """An association has been rejected."""
        # A rejected caller must not use up the AE titles that have labels of their own.
        metrics.ASSOCIATIONS_TOTAL.labels("rejected", *metrics.AETS.known(info.calling_aet)).inc()

    @override
    def limited(self, info: AssociationInfo, limit: AssociationLimit) -> None:
        """An association is about to be rejected because there are too many."""
        metrics.ASSOCIATIONS_LIMITED.labels(limit).inc()

    @override
    def ended(self, info: AssociationInfo, how: AssociationEnd) -> None:
        """An accepted association has ended."""
        metrics.ASSOCIATIONS_OPEN.dec()
        metrics.ASSOCIATIONS_TOTAL.labels(how.value, *metrics.AETS(info.calling_aet)).inc()

    @override
    def unused(self, how: AssociationEnd) -> None:
        """A connection has ended on which there never was an association."""
        metrics.CONNECTIONS_WITHOUT_ASSOCIATION.labels(result=how.value).inc()
