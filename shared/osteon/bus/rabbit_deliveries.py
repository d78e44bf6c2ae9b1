"""What RabbitMQ delivers: settled by acknowledging it, or by publishing its successor first."""

from dataclasses import dataclass
from typing import Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from osteon.bus.envelope import DeadLetter, Envelope
from osteon.bus.rabbit_messages import to_dead_message, to_message
from osteon.bus.rabbit_session import AmqpSession, broker_errors
from osteon.contracts.topology import DEAD_EXCHANGE, retry_queue

PUBLISH_TIMEOUT: Final = 5.0
"""Seconds for the broker to confirm."""


@dataclass(frozen=True, slots=True)
class RabbitDelivery:
    """A delivery of an event or a request, which is never retried."""

    session: AmqpSession
    message: AbstractIncomingMessage
    envelope: Envelope

    @property
    def stale(self) -> bool:
        """Whether the connection that it came by is gone."""
        return self.session.closed.is_set()

    async def ack(self) -> None:
        """Acknowledge."""
        with broker_errors("ack"):
            await self.message.ack()

    async def send_reply(self, reply: Envelope) -> None:
        """Send the reply to a request; when it cannot be routed, the requester is gone."""
        message = to_message(reply, persistent=False, correlation_id=self.envelope.id)
        to = self.message.reply_to or ""
        await self.session.publish(message, exchange="", routing_key=to, timeout=PUBLISH_TIMEOUT, mandatory=False)


@dataclass(frozen=True, slots=True)
class RabbitWorkDelivery(RabbitDelivery):
    """A delivery from a work queue. Its successor is confirmed before it is acknowledged, so nothing is lost."""

    queue: str
    delays_ms: tuple[int, ...]

    async def retry(self, envelope: Envelope, step: int) -> None:
        """Put it into a retry queue, from where it comes back by itself."""
        delay = self.delays_ms[min(step, len(self.delays_ms) - 1)]
        await self._replace(to_message(envelope), "", retry_queue(self.queue, delay))

    async def park(self, dead: DeadLetter) -> None:
        """Put it into the dead-letter queue."""
        await self._replace(to_dead_message(dead), DEAD_EXCHANGE, self.queue)

    async def _replace(self, message: aio_pika.Message, exchange: str, key: str) -> None:
        await self.session.publish(message, exchange=exchange, routing_key=key, timeout=PUBLISH_TIMEOUT)
        await self.ack()
