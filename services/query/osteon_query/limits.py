"""Limits of the HTTP API that no setting changes."""

from dataclasses import dataclass, field

from osteon_query.http.bodies import BodyPace


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """What one request may cost."""

    body_pace: BodyPace = field(default_factory=BodyPace)
    metadata_bytes: int = 32 << 20
    """Bytes of a part with metadata at most, and of all metadata that waits for bulk data (STOW-RS)."""
    header_candidates: int = 10_000
    """Headers that one search reads at most."""
    remembered_locations: int = 4096
    """Locations of one response in memory; with more instances there is neither length nor tag."""
    inflated_bytes: int = 1 << 30
    """Bytes that a deflated data set may become."""
    commitment_wait_seconds: float = 10
    """Seconds for which the response waits for the modality to accept a request; the job continues after that."""
