"""Probe of RabbitMQ."""

import asyncio
from collections.abc import Mapping
from typing import Final

from pamqp.common import FieldTable

from osteon.bus.port import BusUnavailable
from osteon.bus.rabbit_probe import queue_state, try_quorum_queue
from osteon.bus.rabbit_queues import dead_queue_arguments, rpc_queue_arguments, work_queue_arguments
from osteon.bus.rabbit_session import AmqpSession
from osteon.cli.doctor.report import Findings
from osteon.contracts.topology import DEAD_QUEUE, FIND, INDEXER, RETRY_DELAYS_MS, writer_queue
from osteon.settings import BusSettings, SpoolSettings

OLDEST: Final = (3, 10)
_TRIAL_SECONDS: Final = 5.0
_URL: Final = "OSTEON_AMQP_URL"
_RIGHTS: Final = 'rabbitmqctl set_permissions -p VHOST USER ".*" ".*" ".*"'
_FIXES: Final = {
    "access to": f"Let the user of {_URL} configure, write and read: {_RIGHTS}",
    "ACCESS_REFUSED": f"Put user and password of the broker into {_URL}; `guest` may log in from its own host only.",
    "authentication": f"Put user and password of the broker into {_URL}; `guest` may log in from its own host only.",
    "virtual host": f"Correct the path of {_URL}, or: rabbitmqctl add_vhost NAME, and {_RIGHTS}",
    "CERTIFICATE": "See certificates.",
}


def check(settings: BusSettings, findings: Findings) -> None:
    """Check login, version, queues and a message through a queue of its own."""
    asyncio.run(_check(settings, findings))


async def _check(settings: BusSettings, findings: Findings) -> None:
    findings.doing = "connecting"
    try:
        session = await AmqpSession.open(settings.amqp_url.get_secret_value())
    except BusUnavailable as error:
        findings.fail(
            f"no connection: {error}", _fix(str(error), f"Start RabbitMQ, or correct host and port in {_URL}.")
        )
        return
    try:
        _check_version(session, findings)
        await _check_queues(session, settings, findings)
        await _try(session, findings)
    finally:
        await session.close()


def _check_version(session: AmqpSession, findings: Findings) -> None:
    product, version = session.server
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        findings.fail(f"{product} {version} is too old", "Use RabbitMQ 3.10 or newer, better 4.")
    else:
        findings.ok(f"{product} {version}")


def _topology(settings: BusSettings) -> Mapping[str, FieldTable]:
    """Return the arguments of every queue that services of these settings make."""
    queues = [INDEXER]
    if isinstance(settings, SpoolSettings):
        queues.append(writer_queue(settings.spool_id))
    found = dead_queue_arguments() | rpc_queue_arguments(FIND)
    for queue in queues:
        found |= work_queue_arguments(queue, RETRY_DELAYS_MS)
    return found


async def _check_queues(session: AmqpSession, settings: BusSettings, findings: Findings) -> None:
    absent, good = [], 0
    for name, arguments in _topology(settings).items():
        findings.doing = f"looking at queue {name}"
        state = await queue_state(session, name, arguments)
        if state is None:
            absent.append(name)
            continue
        if state.problem:
            what, _, fix = state.problem.partition(". ")
            findings.fail(what, fix)
        else:
            good += 1
        if name == DEAD_QUEUE and state.messages:
            findings.warn(f"parked messages: {state.messages}", "osteon dlq list")
        elif state.messages and not state.consumers and ".retry." not in name and name != DEAD_QUEUE:
            findings.warn(f"no service consumes queue {name}: {state.messages}", "Start the service, or see its log.")
    if good:
        findings.ok(f"{good} queues have the right arguments")
    if absent:
        findings.ok(f"{len(absent)} queues do not exist yet; the services create them")


async def _try(session: AmqpSession, findings: Findings) -> None:
    findings.doing = "sending a message through a quorum queue"
    try:
        await try_quorum_queue(session, seconds=_TRIAL_SECONDS)
        findings.ok("a message came through a quorum queue")
    except BusUnavailable as error:
        alarm = "A memory or disk alarm? rabbitmq-diagnostics alarms; then free space, or raise the limit."
        findings.fail(str(error), _fix(str(error), alarm))


def _fix(text: str, otherwise: str) -> str:
    return next((fix for sign, fix in _FIXES.items() if sign in text), otherwise)
