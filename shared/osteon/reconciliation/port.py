"""The port of reconciliations in the index. Every method raises `DatabaseUnavailable`."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from osteon.contracts.reconciliation import Reconciliation


class Reconciliations(Protocol):
    """Reconciliations as the index has them; their objects in the store take precedence."""

    async def put(self, reconciliation: Reconciliation) -> None:
        """Insert a reconciliation, or replace the row of the same id."""

    async def get(self, reconciliation_id: str) -> Reconciliation:
        """Return one; raises `ResourceNotFound`."""

    async def known(self, reconciliation_ids: Sequence[str]) -> set[str]:
        """Return which of these reconciliations the index has."""

    async def page(
        self, *, after: str = "", limit: int = 100, study_uid: str | None = None, active: bool | None = None
    ) -> Sequence[Reconciliation]:
        """Return reconciliations beyond the id `after`, the oldest first: all, active or undone ones."""

    async def of_studies(self, study_uids: Sequence[str]) -> Mapping[str, Sequence[Reconciliation]]:
        """Return the active ones of studies, in the order in which they apply; studies without any are left out."""
