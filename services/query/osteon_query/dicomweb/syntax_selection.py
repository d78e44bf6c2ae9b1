"""In which transfer syntax each instance of a response comes, decided before its first byte.

Instances that can come in none of those that `Accept` names are omitted, with a warning; when none is left, the request
is refused. Where that shows later (bits or colours that an encoder does not take, no pixels at all) an instance among
others comes as stored: each part names its transfer syntax.
"""

from collections import Counter
from collections.abc import AsyncGenerator

from osteon.archive.resources import Location
from osteon_query.dicomweb.resolve import ResolvedInstances
from osteon_query.http.accept import AcceptedSyntaxes
from osteon_query.http.errors import NotAcceptable
from osteon_query.packs.instance_reader import InstanceRequest, can_transcode


class SyntaxSelection:
    """How the instances of a response come; raises `NotAcceptable` when none can.

    Attributes:
        found: all instances.
        requests: those of `found.first` that are sent.
        omitted: how many of each transfer syntax are not.
    """

    def __init__(self, found: ResolvedInstances, syntaxes: AcceptedSyntaxes) -> None:
        self.found = found
        self.omitted: Counter[str] = Counter()
        self._syntaxes = syntaxes
        self._targets: dict[str, tuple[str, ...]] = {}
        self._several = len(found.first) > 1
        self.requests = [request for location in found.first if (request := self._request(location)) is not None]
        if not self.requests:
            raise NotAcceptable(f"Accept names transfer syntax {syntaxes.text}: {self.explain()}")

    @property
    def as_stored(self) -> bool:
        """Whether every instance comes as stored."""
        return self.found.rest is None and not any(request.targets for request in self.requests)

    def explain(self) -> str:
        """Say which instances are omitted."""
        stored = ", ".join(f"{count} stored in {uid}" for uid, count in sorted(self.omitted.items()))
        return f"instances that cannot be sent in it: {stored[:500]}; transfer-syntax=* accepts them as stored"

    async def all_requests(self) -> AsyncGenerator[InstanceRequest, None]:
        """Iterate over the instances that are sent, once."""
        for request in self.requests:
            yield request
        if self.found.rest is not None:
            async for location in self.found.rest:
                yield self._request(location) or InstanceRequest(location)

    def _request(self, location: Location) -> InstanceRequest | None:
        stored = location.transfer_syntax_uid
        if stored not in self._targets:
            better = self._syntaxes.targets(stored)
            self._targets[stored] = tuple(uid for uid in better if can_transcode(stored, uid))
        targets = self._targets[stored]
        accepted = self._syntaxes.accepts(stored)
        if not targets and not accepted:
            self.omitted[stored] += 1
            return None
        return InstanceRequest(location, targets, accepted or self._several)
