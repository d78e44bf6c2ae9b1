"""The bus as services see it.

Delivery is at least once; handlers are idempotent. What happens to a message is decided by what its handler raises:

* nothing: the message is done;
* `osteon.errors.Unavailable`: a part is down; it is tried again with back-off for as long as it takes, never parked;
* `osteon.errors.Invalid` (or a body that is no such message): to the dead-letter queue at once, with the reason;
* anything else: it is tried again with back-off, and parked after `topology.MAX_ATTEMPTS`.

A consumer that parks one message after the other and handles none is more likely wrong than they are: after
`topology.PARK_BURST` it lets them wait instead, and tries each again until some succeed.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from osteon.contracts.base import Message
from osteon.contracts.topology import Queue, RpcQueue
from osteon.errors import Unavailable

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message)


class BusUnavailable(Unavailable):
    """The broker does not answer, or refused the message for lack of resources."""


class Unroutable(BusUnavailable):
    """The broker has no queue for a message that needs one (its consumer never declared it)."""


class TopologyDiffers(BusUnavailable):
    """A queue or an exchange exists with other properties than Osteon gives it; until it is deleted nothing works."""


class RequestTimeout(BusUnavailable):
    """No answer came in time."""


class Bus(Protocol):
    """Publish facts, consume work, listen to events, request and serve answers."""

    async def start(self) -> None:
        """Connect. Reconnects by itself for ever afterwards, and declares again what was declared."""

    async def close(self, *, grace: float = 10.0) -> None:
        """Stop taking deliveries, let handlers in flight finish for `grace` seconds, and disconnect."""

    async def declare(self, queue: Queue) -> None:
        """Make sure that `queue` exists, so that what is published before its consumer starts is kept."""

    async def publish(self, message: Message) -> None:
        """Publish and return once the broker has confirmed; raises `BusUnavailable` or `Unroutable`."""

    async def consume(self, queue: Queue, handler: Callable[[M], Awaitable[None]], *, concurrency: int = 1) -> None:
        """Hand each message of `queue` to `handler`, at most `concurrency` at a time. Returns once consuming."""

    async def consume_batches(
        self,
        queue: Queue,
        handler: Callable[[Sequence[M]], Awaitable[None]],
        *,
        size: int,
        linger: float,
    ) -> None:
        """Hand batches to `handler`: at most `size` messages, gathered for at most `linger` seconds after the first.

        When a batch fails for any reason but `Unavailable`, its messages are tried one by one, so that one bad
        message does not take the others with it.
        """

    async def subscribe(self, message: type[M], handler: Callable[[M], Awaitable[None]], *, address: str = "") -> None:
        """Call `handler` with every event of this type published from now on, in every process that subscribed.

        With an `address`, only with the events of this type that are addressed to it.
        """

    async def request(self, queue: RpcQueue, message: Message, *, timeout: float) -> Message:
        """Send a request and return its answer (of type `queue.reply`); raises `RequestTimeout`."""

    async def serve(self, queue: RpcQueue, handler: Callable[[M], Awaitable[R]], *, concurrency: int = 8) -> None:
        """Answer requests. A handler that raises leaves the requester to its timeout; the error is logged."""

    async def check(self) -> None:
        """Raise `BusUnavailable` when the broker can not be used now (for `/readyz`)."""
