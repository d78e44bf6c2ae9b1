"""The bus as services see it.

Delivery is at least once; handlers are idempotent. What happens to a message is decided by what its handler raises:

* nothing: the message is done;
* `osteon.errors.Unavailable`: a part is down; it is retried with back-off for as long as it takes, never parked;
* `osteon.errors.Invalid` (or a body that is not such a message): to the dead-letter queue at once, with the reason;
* anything else: it is retried with back-off, and parked after `topology.MAX_ATTEMPTS`.

A consumer that parks one message after the other and handles none is more likely wrong than they are: after
`topology.PARK_BURST` it retries them all until some succeed.

The handler of a request decides in the same way what its requester gets:

* a reply: that one;
* an `osteon.errors.OsteonError`: `RequestFailed`, with the kind of the error and its text;
* anything else: nothing, until `RequestTimeout`; the error is logged.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from osteon.contracts.base import Message
from osteon.contracts.failure import FailureReply
from osteon.contracts.topology import Queue, RpcQueue
from osteon.errors import OsteonError, Unavailable

M = TypeVar("M", bound=Message)
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class BusUnavailable(Unavailable):
    """The broker does not answer, or refused the message for lack of resources."""


class Unroutable(BusUnavailable):
    """The broker has no queue for a message that needs one (its consumer never declared it)."""


class TopologyDiffers(BusUnavailable):
    """A queue or an exchange exists with other properties than Osteon gives it; until it is deleted nothing works."""


class RequestTimeout(BusUnavailable):
    """No reply came in time."""


class RequestFailed(OsteonError):
    """The service that has the request replied with a failure."""

    def __init__(self, reply: FailureReply) -> None:
        super().__init__(reply.text)
        self.kind = reply.kind
        self.correlation_id = reply.correlation_id


class Bus(Protocol):
    """Publish facts, consume work, listen to events, send requests and serve them."""

    async def start(self) -> None:
        """Connect. Reconnects by itself forever afterwards, and declares again what was declared."""

    async def close(self, *, grace: float = 10.0) -> None:
        """Stop taking deliveries, let handlers in flight finish for `grace` seconds, and disconnect."""

    async def declare(self, queue: Queue[M]) -> None:
        """Make sure that `queue` exists, so that what is published before its consumer starts is kept."""

    async def publish(self, message: Message) -> None:
        """Publish and return once the broker has confirmed; raises `BusUnavailable` or `Unroutable`."""

    async def consume(self, queue: Queue[M], handler: Callable[[M], Awaitable[None]], *, concurrency: int = 1) -> None:
        """Hand each message of `queue` to `handler`, at most `concurrency` at a time. Returns once consuming."""

    async def consume_batches(
        self,
        queue: Queue[M],
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

    async def request(self, queue: RpcQueue[Q, R], message: Q, *, timeout: float) -> R:
        """Send a request and return its reply; raises `RequestFailed`, `RequestTimeout` or `BusUnavailable`."""

    async def serve(self, queue: RpcQueue[Q, R], handler: Callable[[Q], Awaitable[R]], *, concurrency: int = 8) -> None:
        """Reply to requests with what `handler` returns, `concurrency` at a time."""

    async def check(self) -> None:
        """Raise `BusUnavailable` when the broker cannot be used now (for `/readyz`)."""
