"""Label values that come from outside: the first so many have values of their own, all others share one."""

from typing import Final

OTHER: Final = "other"


class LabelLimiter:
    """Gives at most `most` names a label value of their own.

    A peer that chooses names cannot create more time series. Names stay forever: a removed counter would look like a
    restart.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: set[tuple[str, ...]] = set()

    def __call__(self, *names: str) -> tuple[str, ...]:
        """Return the names if they are known or there is room for them, else `OTHER` for each."""
        if names not in self._known:
            if len(self._known) >= self.most:
                return (OTHER,) * len(names)
            self._known.add(names)
        return names

    def known(self, *names: str) -> tuple[str, ...]:
        """Return the names if they are known already, else `OTHER` for each."""
        return names if names in self._known else (OTHER,) * len(names)
