"""What sending needs of a stored instance."""

from osteon.archive.resources import Location
from osteon.contracts.retrieve import PlannedInstance


def from_location(location: Location, correlation_id: str = "") -> PlannedInstance:
    """Return what sending needs of a location."""
    return PlannedInstance(
        correlation_id=correlation_id,
        sop_class_uid=location.identity.sop_class_uid,
        sop_instance_uid=location.identity.sop_uid,
        transfer_syntax_uid=location.transfer_syntax_uid,
        key=location.key,
        offset=location.offset,
        length=location.length,
        sha256=location.sha256,
        xxh3=location.xxh3,
    )
