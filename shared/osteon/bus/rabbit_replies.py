"""The requesting side of RPC on RabbitMQ, by its direct replies."""

import asyncio

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from osteon.bus.envelope import Envelope, encode
from osteon.bus.port import BusUnavailable, RequestTimeout
from osteon.bus.rabbit_messages import to_envelope, to_message
from osteon.bus.rabbit_session import AmqpSession
from osteon.contracts.base import Message
from osteon.contracts.topology import REPLY_TO


class ReplyReceiver:
    """Sends requests and hands each reply to the request that waits for it."""

    def __init__(self) -> None:
        self._session: AmqpSession | None = None
        self._channel: AbstractChannel | None = None
        self._waiting: dict[str, asyncio.Future[Envelope]] = {}

    async def establish(self, session: AmqpSession) -> None:
        """Consume the pseudo-queue of direct replies; requests must use the same channel."""
        channel = await session.channel()
        replies = await channel.get_queue(REPLY_TO, ensure=False)
        await replies.consume(self._receive, no_ack=True)
        self._session, self._channel = session, channel

    async def cancel(self) -> None:
        """Nothing: handlers that finish may still wait for a reply."""

    def lost(self) -> None:
        """Fail the requests that wait: no reply can come any more."""
        self._session = self._channel = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BusUnavailable("connection lost before the reply came"))

    async def request(self, queue: str, message: Message, timeout: float) -> Envelope:
        """Send a request and wait for its reply; raises `RequestTimeout` or `BusUnavailable`."""
        if self._session is None:
            raise BusUnavailable(f"request to {queue} not sent: no connection to RabbitMQ")
        envelope = encode(message)
        future: asyncio.Future[Envelope] = asyncio.get_running_loop().create_future()
        self._waiting[envelope.id] = future
        request = to_message(envelope, persistent=False, reply_to=REPLY_TO, expiration=timeout)
        try:
            async with asyncio.timeout(timeout):
                await self._session.publish(
                    request, exchange="", routing_key=queue, timeout=timeout, channel=self._channel
                )
                return await future
        except TimeoutError:
            raise RequestTimeout(f"no reply from {queue} within {timeout:g} s") from None
        finally:
            del self._waiting[envelope.id]
            future.cancel()

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        future = self._waiting.get(message.correlation_id or "")
        if future is not None and not future.done():
            future.set_result(to_envelope(message))
