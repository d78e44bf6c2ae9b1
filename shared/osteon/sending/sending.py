"""Sends planned instances: `send` on an association that there is, `deliver` on ones that it asks for."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from osteon.bus.port import Bus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.config import Proposed
from osteon.dimse.user import ServiceUser
from osteon.objects.port import Objects
from osteon.sending.accounting import Sent

Connect = Callable[[Sequence[Proposed]], AbstractAsyncContextManager[ServiceUser]]
"""Asks for an association, as `partial(associate, remote, config=…)` does."""


class Sending:
    """Sends instances from packs; one for all associations of a process.

    Args:
        objects: the object store, where packs and transcoded instances are.
        bus: the way to `imaging`, which transcodes what the peer can not take as it is stored.
        read_ahead: bytes that are read for one association before the peer takes them.
        memory: bytes for all associations together: when they are used up, each reads but what it sends next.
        lossy: transfer syntaxes in which instances may be sent although information is lost.
        quality: of lossy compression, 1 to 100.
        verify: compare data sets with the SHA-256 that was noted when they came.
        transcode_timeout: seconds to wait for `imaging`.
    """

    def __init__(
        self,
        objects: Objects,
        bus: Bus,
        *,
        read_ahead: int = 16 << 20,
        memory: int = 256 << 20,
        lossy: Sequence[str] = (),
        quality: int = 90,
        verify: bool = True,
        transcode_timeout: float = 300.0,
    ) -> None: ...

    def send(
        self,
        line: ServiceUser,
        instances: AsyncIterable[PlannedInstance],
        *,
        move_originator: tuple[str, int] | None = None,
        transcode: bool = True,
    ) -> AsyncGenerator[Sent]:
        """Send on one association, in order; yield each instance once it is answered or has failed for good.

        Close the generator (`aclosing`) when it is left early. `instances` is asked for ahead of what is sent.

        Args:
            line: the association; an instance for which it has no context fails.
            instances: what to send.
            move_originator: AE title and Message ID of the C-MOVE that these are sub-operations of.
            transcode: whether `imaging` may be asked when the peer does not accept the stored transfer syntax.

        Raises:
            RequestorError: the association has ended; the instances not yielded are not (known to be) there.
            Unavailable: the object store or whatever gives `instances` does not answer.
        """
        raise NotImplementedError

    def deliver(
        self,
        connect: Connect,
        instances: AsyncIterable[PlannedInstance],
        *,
        move_originator: tuple[str, int] | None = None,
        transcode: bool = True,
    ) -> AsyncGenerator[Sent]:
        """Send on associations that `connect` makes, as `send` does; a new one only when other contexts are needed.

        An instance on which an association broke is tried once more on a new one; then it has failed, and the next
        one's turn has come.

        Raises:
            RequestorError: there is no association, or one after the other breaks.
            Unavailable: the object store or whatever gives `instances` does not answer.
        """
        raise NotImplementedError
