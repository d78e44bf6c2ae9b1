"""In which transfer syntax each instance of an answer comes, decided before its first byte.

Instances that can come in none of those that `Accept` names are left out, which the answer tells; it is refused when
none is left. Where that shows later (bits or colours that an encoder does not take, no pixels at all) an instance among
others comes as stored: each part says its transfer syntax.
"""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from osteon.archive.resources import Location
from osteon.objects.port import Bytes
from osteon_query.dicomweb.scopes import Found
from osteon_query.http.accept import Syntaxes
from osteon_query.http.context import Door
from osteon_query.http.errors import NotAcceptable
from osteon_query.packs.converted import PartFile, Wish, makeable, read_wishes
from osteon_query.packs.retrieval import Begins, read_pieces

_WAY: Final = "wado"


class Choice:
    """How the instances of an answer come; raises `NotAcceptable` when none can.

    Attributes:
        found: all instances.
        wishes: those of `found.first` that can come.
        left_out: how many of each transfer syntax can not.
    """

    def __init__(self, found: Found, syntaxes: Syntaxes) -> None:
        self.found = found
        self.left_out: Counter[str] = Counter()
        self._syntaxes = syntaxes
        self._targets: dict[str, tuple[str, ...]] = {}
        self._several = len(found.first) > 1
        self.wishes = [wish for location in found.first if (wish := self._wish(location)) is not None]
        if not self.wishes:
            raise NotAcceptable(f"Accept names transfer syntax {syntaxes.text}: {self.told()}")

    @property
    def as_stored(self) -> bool:
        """Whether every instance comes as stored."""
        return self.found.rest is None and not any(wish.targets for wish in self.wishes)

    def told(self) -> str:
        """Say which instances can not come."""
        stored = ", ".join(f"{count} stored in {uid}" for uid, count in sorted(self.left_out.items()))
        return f"instances that can not be sent so: {stored[:500]}; transfer-syntax=* takes what is stored"

    async def files(self, door: Door, correlation_id: str) -> AsyncGenerator[PartFile | Bytes, None]:
        """Yield each file, then its bytes in chunks."""
        if self.as_stored:
            source = read_pieces(door.objects, self._stored(), way=_WAY)
        else:
            source = read_wishes(door.objects, door.transcoder, self._all(), way=_WAY, correlation_id=correlation_id)
        async with aclosing(source):
            async for item in source:
                yield item.piece if isinstance(item, Begins) else item

    async def _stored(self) -> AsyncGenerator[PartFile, None]:
        for wish in self.wishes:
            yield PartFile.of(wish.location)

    async def _all(self) -> AsyncGenerator[Wish, None]:
        for wish in self.wishes:
            yield wish
        if self.found.rest is not None:
            async for location in self.found.rest:
                yield self._wish(location) or Wish(location)

    def _wish(self, location: Location) -> Wish | None:
        stored = location.transfer_syntax_uid
        if stored not in self._targets:
            better = self._syntaxes.targets(stored)
            self._targets[stored] = tuple(uid for uid in better if makeable(stored, uid))
        targets = self._targets[stored]
        accepted = self._syntaxes.accepts(stored)
        if not targets and not accepted:
            self.left_out[stored] += 1
            return None
        return Wish(location, targets, accepted or self._several)
