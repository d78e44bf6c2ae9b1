"""Which instances a URL of the studies service names (PS3.18 10.1.1)."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from osteon.archive.resources import InstanceScope, Location
from osteon.reconciliation.originals import originals
from osteon_query.app_state import AppState
from osteon_query.http.conditional import entity_tag
from osteon_query.http.errors import UnknownResource
from osteon_query.http.request_values import uid_of


def scope_of(study: str, series: str | None = None, instance: str | None = None) -> InstanceScope:
    """Return the scope of the UIDs in a URL; raises `BadParameter` for an invalid one."""
    return InstanceScope(
        study_uid=uid_of("the study", study),
        series_uid=None if series is None else uid_of("the series", series),
        sop_uids=() if instance is None else (uid_of("the instance", instance),),
    )


@dataclass(frozen=True, slots=True)
class ResolvedInstances:
    """The instances of a scope: the first ones, and an iterator over more than can be remembered."""

    first: list[Location]
    rest: AsyncIterator[Location] | None

    async def all(self) -> AsyncGenerator[Location, None]:
        """Iterate over all of them, once."""
        for location in self.first:
            yield location
        if self.rest is not None:
            async for location in self.rest:
                yield location

    async def beginning(self) -> AsyncGenerator[Location, None]:
        """Iterate over those that are remembered, any number of times."""
        for location in self.first:
            yield location

    def tag(self, *facts: object) -> str:
        """Return an entity tag of these instances and `facts`; empty when there are too many."""
        if self.rest is not None:
            return ""
        digests = b"".join(location.sha256 + location.transfer_syntax_uid.encode() for location in self.first)
        return entity_tag(digests, *facts)


async def resolve(state: AppState, scope: InstanceScope, *, original: bool = False) -> ResolvedInstances:
    """Return the instances of a scope, as they were received with `original`.

    Raises `UnknownResource` when there are none.
    """
    located = state.index.locate(scope)
    if original:
        located = originals(state.conflicts, located)
    first: list[Location] = []
    async for location in located:
        first.append(location)
        if len(first) >= state.limits.remembered_locations:
            return ResolvedInstances(first, located)
    if not first:
        raise _unknown(scope)
    return ResolvedInstances(first, None)


async def resolve_one(state: AppState, scope: InstanceScope) -> Location:
    """Return the instance of a scope; raises `UnknownResource`."""
    async for location in state.index.locate(scope):
        return location
    raise _unknown(scope)


def _unknown(scope: InstanceScope) -> UnknownResource:
    parts = ["study " + str(scope.study_uid)] if scope.study_uid else []
    parts += ["series " + scope.series_uid] if scope.series_uid else []
    parts += ["instance " + uid for uid in scope.sop_uids]
    return UnknownResource(f"the archive does not hold {', '.join(parts)}")
