"""Searches in other archives (C-FIND as SCU) and what they answered: kept for a while, the same for every replica."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from osteon.errors import NotFound


class QueryNotFound(NotFound):
    """No search has this identifier, or it is forgotten by now; or it has no such answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteQuery:
    """A search in a modality. `answers` counts what it found."""

    id: str
    modality: str
    """Name of the modality."""
    level: str
    """In Orthanc's words: Patient, Study, Series or Instance."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Keyword or tag → value, as the client gave them."""
    local_aet: str = ""
    timeout: int = 0
    created: datetime
    answers: int = 0


class RemoteQueries(Protocol):
    """Every method raises `DatabaseUnavailable` when the database does not answer."""

    async def add(self, query: RemoteQuery, *, keep: int, older_than: datetime) -> None:
        """Add a search without answers; forget those made before `older_than` and all but the newest `keep`."""

    async def add_answers(self, query_id: str, answers: Sequence[bytes]) -> None:
        """Append answers, each a data set as DICOM JSON; raises `QueryNotFound`."""

    async def list(self) -> Sequence[RemoteQuery]:
        """Return all, the oldest first."""

    async def get(self, query_id: str) -> RemoteQuery:
        """Return one; raises `QueryNotFound`."""

    async def answers(self, query_id: str, *, since: int = 0, limit: int | None = None) -> Sequence[bytes]:
        """Return answers as DICOM JSON, in the order in which they came; none for a search that is not known."""

    async def delete(self, query_id: str) -> None:
        """Forget one; raises `QueryNotFound`."""
