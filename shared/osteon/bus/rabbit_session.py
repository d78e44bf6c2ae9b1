"""One connection to RabbitMQ and its channels, from connecting to the first failure of any of them.

aio-pika's robust connection restores channels one by one and lets calls during an outage wait forever. Here the unit
of failure is the connection: when it or one of its channels ends, all is closed and `RabbitBus` opens a new session.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelClosed,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)
from yarl import URL

from osteon.bus.port import BusUnavailable, TopologyDiffers, Unroutable
from osteon.contracts.topology import DEAD_EXCHANGE, EXCHANGE
from osteon.logging import get_logger

log = get_logger(__name__)
HEARTBEAT = 5
"""Seconds; a broker that is silent for about three of them is given up."""
_CONNECT_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 5.0


_MISMATCH = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>\w+) '(?P<name>[^']+)' in vhost '(?P<vhost>[^']+)': "
    r"received (?P<ours>.+?) but current is (?P<theirs>.+)"
)


def explain_mismatch(refusal: str) -> str:
    """Return the broker's refusal of a declaration as what is wrong and how to fix it."""
    found = _MISMATCH.search(refusal)
    if found is None:
        return refusal
    argument, kind, name, vhost, ours, theirs = found.groups()
    delete = f"rabbitmqctl delete_queue -p {vhost} {name}" if kind == "queue" else f"delete the {kind}"
    return (
        f"the {kind} {name!r} exists with {argument} = {_plain_value(theirs)}, where Osteon needs "
        f"{_plain_value(ours)}. Stop the services, then: {delete}. Osteon declares it again; "
        "spool and sweep find what its messages announced"
    )


def _explain(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    # aiormq does not read why the broker closes the connection instead of opening a virtual host.
    if "Connection.OpenOk" in text and "Connection.Close" in text:
        return "the broker refuses the virtual host: it does not exist, or the user has no permission for it"
    return text


def _plain_value(value: str) -> str:
    """Return the value in the broker's words: `the value '5' of type 'signedint'`, `none`, `'topic'`."""
    return " ".join(value.split()).removeprefix("the value ").split(" of type ")[0].strip("'")


@contextmanager
def broker_errors(what: str) -> Iterator[None]:
    """Turn what aio-pika raises into `BusUnavailable` or `Unroutable`."""
    try:
        yield
    except PublishError:
        raise Unroutable(f"{what}: the broker has no queue for it") from None
    except DeliveryError:
        raise BusUnavailable(f"{what}: the broker refused it") from None
    except TimeoutError:
        raise BusUnavailable(f"{what}: no answer from the broker in time") from None
    except ChannelPreconditionFailed as error:
        raise TopologyDiffers(f"{what}: {explain_mismatch(str(error))}") from error
    except CONNECTION_EXCEPTIONS as error:
        raise BusUnavailable(f"{what}: {_explain(error)}") from error
    except asyncio.CancelledError:
        # aiormq ends what waits on a closed channel with CancelledError; it is real only if this task was cancelled.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BusUnavailable(f"{what}: the connection was lost") from None
    except Exception as error:
        # And it ends calls in progress with a bare Exception when it closes a connection.
        if type(error) is not Exception:
            raise
        raise BusUnavailable(f"{what}: the connection was lost") from error


class AmqpSession:
    """An open connection. `closed` is set by the first failure; nothing works afterwards."""

    publisher: AbstractChannel

    def __init__(self, connection: AbstractConnection) -> None:
        self.closed = asyncio.Event()
        self.reason = ""
        self._connection = connection
        connection.close_callbacks.add(self._on_close)

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect and declare the exchanges; raises `BusUnavailable`."""
        target = URL(url)
        if "heartbeat" not in target.query:
            target = target.update_query(heartbeat=HEARTBEAT)
        with broker_errors("connect"):
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                session = cls(await aio_pika.connect(target))
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    session.publisher = await session.channel()
                    await session.publisher.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
                    await session.publisher.declare_exchange(DEAD_EXCHANGE, aio_pika.ExchangeType.FANOUT, durable=True)
            except BaseException:
                await session.close()
                raise
        return session

    @property
    def server(self) -> tuple[str, str]:
        """Product and version, as the broker names them."""
        transport = self._connection.transport
        known: Mapping[str, Any] = getattr(transport and transport.connection, "server_properties", {})
        return str(known.get("product", "a broker")), str(known.get("version", "of unknown version"))

    async def channel(self, *, prefetch: int = 0) -> AbstractChannel:
        """Open a channel whose end ends the session; with `prefetch`, that many deliveries are unsettled at most."""
        channel = self.temporary_channel()
        await channel.initialize()
        channel.close_callbacks.add(self._on_close)
        if prefetch:
            await channel.set_qos(prefetch_count=prefetch)
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(
            lambda frame: self.fail(f"the broker cancelled consumer {frame.consumer_tag}: was its queue deleted?")
        )
        return channel

    def temporary_channel(self) -> AbstractChannel:
        """Return a channel to use with `async with`; what it took and did not acknowledge goes back to the queue."""
        return self._connection.channel(publisher_confirms=True, on_return_raises=True)

    async def probe(self, timeout: float) -> None:
        """Make sure that the broker answers; raises `BusUnavailable`."""
        with broker_errors("probe"):
            async with asyncio.timeout(timeout):
                async with self.temporary_channel():
                    pass

    async def publish(
        self,
        message: aio_pika.Message,
        *,
        exchange: str,
        routing_key: str,
        timeout: float,
        mandatory: bool = True,
        channel: AbstractChannel | None = None,
    ) -> None:
        """Publish and return once confirmed; raises `BusUnavailable` or `Unroutable`."""
        with broker_errors(f"publish {message.type or 'message'} to {exchange or 'queue'} {routing_key}"):
            channel = channel or self.publisher
            target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
            await target.publish(message, routing_key, mandatory=mandatory, timeout=timeout)

    def fail(self, reason: str) -> None:
        """Mark the session as ended."""
        if not self.closed.is_set():
            self.reason = reason
            self.closed.set()

    async def close(self) -> None:
        """Disconnect, within a few seconds even from a broker that does not answer."""
        self.fail("closed")
        try:
            with broker_errors("disconnect"):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._connection.close()
        except BusUnavailable as error:
            log.debug("disconnect not confirmed by the broker", error=str(error))

    def _on_close(self, _: object, error: BaseException | None = None) -> None:
        if isinstance(error, ChannelClosed):
            self.fail(f"the broker closed a channel: {error}")
        else:
            self.fail(f"connection lost: {error or type(error).__name__}")
