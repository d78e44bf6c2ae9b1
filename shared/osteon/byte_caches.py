"""Caches of a bounded number of bytes, and what all caches of this process take (metric `osteon_cache_bytes`)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any, Final, Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")
C = TypeVar("C")

ENTRY_BYTES: Final = 300
"""What the objects of a key and a value and their entry take in memory besides their contents, about."""

_shown: dict[str, tuple[Callable[[Any], float], WeakValueDictionary[int, object]]] = {}


class ByteCache(Generic[K, V]):
    """Keeps what was used last, in at most `limit` bytes of memory by its own estimate. For one thread at a time."""

    def __init__(self, name: str, limit: int, contents: Callable[[K, V], int]) -> None:
        """`contents` says how many bytes key and value take besides `ENTRY_BYTES`; `name` is for the metric."""
        self.limit: Final = limit
        self.size = 0
        """Bytes that all entries take."""
        self._contents = contents
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        show_size(name, self, lambda cache: cache.size)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """Return what is kept under a key."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def __setitem__(self, key: K, value: V) -> None:
        """Keep a value, unless it is larger than the whole cache."""
        self.forget(key)
        cost = ENTRY_BYTES + self._contents(key, value)
        if cost > self.limit:
            return
        while self.size + cost > self.limit:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size -= freed
        self._entries[key] = value, cost
        self.size += cost

    def forget(self, key: K) -> None:
        """Remove a key if it is there."""
        if (found := self._entries.pop(key, None)) is not None:
            self.size -= found[1]


def cached(
    name: str, *, entries: int, entry_bytes: int, keeps: Callable[..., bool] | None = None
) -> Callable[[Callable[P, V]], Callable[P, V]]:
    """Decorate a function whose arguments and results are short: the results of so many calls are kept.

    `entry_bytes` is the most that one call's arguments and result take in memory. `keeps` says of arguments that may be
    long whether they are short. For any number of threads.
    """

    def decorate(function: Callable[P, V]) -> Callable[P, V]:
        kept: Any = lru_cache(maxsize=entries)(function)
        show_size(name, kept, lambda found: found.cache_info().currsize * entry_bytes)
        if keeps is None:
            return kept  # type: ignore[no-any-return]

        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> V:
            return (kept if keeps(*arguments, **named) else function)(*arguments, **named)

        return call

    return decorate


def show_size(name: str, cache: C, size: Callable[[C], float]) -> None:
    """Count a cache among those of `name` for as long as it exists; `size` says how many bytes it takes."""
    _, caches = _shown.setdefault(name, (size, WeakValueDictionary()))
    caches[id(cache)] = cache


def cache_sizes() -> dict[str, float]:
    """Return the bytes that all caches of each name take."""
    return {name: sum(size(cache) for cache in list(caches.values())) for name, (size, caches) in list(_shown.items())}
