"""`osteon doctor` on real parts that are broken in real ways: what it says names the cause and the remedy."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aio_pika
import psycopg
import pytest
import structlog

from osteon.bus.rabbit import RabbitBus
from osteon.bus.rabbit_queues import work_queue_arguments
from osteon.contracts.topology import DEAD_QUEUE, writer_queue
from osteon.index.sql import SqlIndex
from osteon_local import Postgres, RabbitMQ, SeaweedFS
from osteon_local.part import free_port
from support.archive.running import RunningArchive
from support.cli.doctor import bad, look

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("broker")]
Look = Callable[..., list[str]]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Look:
    def ask(url: str, **settings: object) -> list[str]:
        found = look(monkeypatch, "writer", ["broker"], amqp_url=url, **settings)
        assert {each.probe for each in found} == {"broker"}
        return bad(found)

    return ask


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Look:
    return lambda url, **settings: bad(look(monkeypatch, "indexer", ["database"], database_url=url, **settings))


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch, seaweedfs: SeaweedFS) -> Look:
    def ask(bucket: str, **settings: object) -> list[str]:
        access = {"s3_access_key": seaweedfs.access_key, "s3_secret_key": seaweedfs.secret_key}
        wanted = {"s3_endpoint": seaweedfs.endpoint, "s3_bucket": bucket, **access, **settings}
        return bad(look(monkeypatch, "indexer", ["objects"], **wanted))

    return ask


def spool_id() -> str:
    return f"doctor-{uuid.uuid4().hex[:8]}"


def other_queue(url: str, name: str, *, limit: int) -> None:
    """Make a work queue as an administrator might have done, with another delivery limit."""
    arguments = work_queue_arguments(writer_queue(name.removeprefix("writer.")), [])[name] | {"x-delivery-limit": limit}

    async def declare() -> None:
        connection = await aio_pika.connect(url)
        async with connection, connection.channel() as channel:
            await channel.declare_queue(name, durable=True, arguments=arguments)

    asyncio.run(declare())


def queues(url: str, *names: str) -> list[str]:
    """Return which of these queues exist."""

    async def ask() -> list[str]:
        connection = await aio_pika.connect(url)
        found = []
        async with connection:
            for name in names:
                channel = await connection.channel()
                try:
                    await channel.declare_queue(name, passive=True)
                    found.append(name)
                except aio_pika.exceptions.ChannelClosed:
                    pass
        return found

    return asyncio.run(ask())


def test_a_broker_that_works_is_in_order_and_no_queue_is_made(rabbitmq: RabbitMQ, broker: Look) -> None:
    name = spool_id()
    wrong = [line for line in broker(rabbitmq.url, spool_id=name) if "parked" not in line]
    assert wrong == []
    assert queues(rabbitmq.url, f"writer.{name}", f"writer.{name}.retry.250") == []


def test_a_queue_with_other_arguments_is_named_with_argument_and_remedy(rabbitmq: RabbitMQ, broker: Look) -> None:
    name = spool_id()
    other_queue(rabbitmq.url, f"writer.{name}", limit=5)
    [wrong] = [line for line in broker(rabbitmq.url, spool_id=name) if line.startswith("FAIL")]
    assert f"the queue 'writer.{name}' exists with x-delivery-limit = 5, where Osteon needs 20" in wrong
    assert f"rabbitmqctl delete_queue -p / writer.{name}" in wrong


@asynccontextmanager
async def starting(url: str, name: str) -> AsyncIterator[RabbitBus]:
    """A bus that wants a queue and does not get it."""
    bus = RabbitBus(url)
    await bus.start()
    declaring = asyncio.create_task(bus.declare(writer_queue(name)))
    try:
        yield bus
        await asyncio.wait_for(declaring, 60)
    finally:
        declaring.cancel()
        await bus.close()


async def test_start_up_names_the_same_and_goes_on_by_itself_once_it_is_mended(rabbitmq: RabbitMQ) -> None:
    name = spool_id()
    await asyncio.to_thread(other_queue, rabbitmq.url, f"writer.{name}", limit=5)
    with structlog.testing.capture_logs() as logs:
        async with starting(rabbitmq.url, name):
            async with asyncio.timeout(60):
                while not any(f"writer.{name}" in str(entry.get("problem")) for entry in logs):
                    await asyncio.sleep(0.05)
            connection = await aio_pika.connect(rabbitmq.url)
            async with connection, connection.channel() as channel:
                await channel.queue_delete(f"writer.{name}")
    assert any("x-delivery-limit = 5, where Osteon needs 20" in str(entry.get("problem")) for entry in logs)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [(("guest:guest", "guest:wrong"), "user and password"), (("/", "/nowhere"), "add_vhost")],
    ids=["password", "vhost"],
)
def test_a_login_that_is_refused_names_the_setting(
    rabbitmq: RabbitMQ, broker: Look, change: tuple[str, str], remedy: str
) -> None:
    head, _, tail = rabbitmq.url.rpartition("/")
    url = f"{head}/nowhere{tail}" if remedy == "add_vhost" else rabbitmq.url.replace(*change)
    [wrong] = broker(url)
    assert remedy in wrong
    assert "OSTEON_AMQP_URL" in wrong


def test_a_broker_that_is_stopped_is_to_be_started(broker: Look) -> None:
    [wrong] = broker(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    assert "Start RabbitMQ" in wrong


def test_a_broker_that_hangs_does_not_hold_up_the_doctor(
    own_rabbitmq: RabbitMQ, broker: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_rabbitmq.pause()
    try:
        environment = {"OSTEON_AMQP_URL": own_rabbitmq.url, "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "osteon.cli", "doctor", "--only", "broker", "--timeout", "1"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    finally:
        own_rabbitmq.resume()
    assert done.returncode == 2
    assert "no answer within 1 s while connecting" in done.stdout


def test_messages_that_are_parked_are_warned_of(own_rabbitmq: RabbitMQ, broker: Look) -> None:
    async def park() -> None:
        connection = await aio_pika.connect(own_rabbitmq.url)
        async with connection, connection.channel() as channel:
            await channel.default_exchange.publish(aio_pika.Message(b"{}"), DEAD_QUEUE)

    broker(own_rabbitmq.url)  # makes nothing
    assert queues(own_rabbitmq.url, DEAD_QUEUE) == []
    asyncio.run(_declared(own_rabbitmq.url))
    asyncio.run(park())
    assert any(line == "WARN parked messages: 1 → osteon dlq list" for line in broker(own_rabbitmq.url))


async def _declared(url: str) -> None:
    bus = RabbitBus(url)
    await bus.start()
    await bus.declare(writer_queue("doctor"))
    await bus.close()


async def migrate(url: str) -> None:
    index = SqlIndex(url)
    await index.start()
    await index.close()


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def test_a_database_without_tables_is_warned_of_and_one_with_them_is_in_order(
    database_url: str, database: Look
) -> None:
    [wrong] = database(database_url)
    assert wrong.startswith("WARN there are no tables yet")
    asyncio.run(migrate(database_url))
    assert database(database_url) == []


def test_tables_of_a_newer_release_fail(database_url: str, database: Look) -> None:
    asyncio.run(migrate(database_url))
    execute(database_url, "UPDATE alembic_version SET version_num = 'future'")
    assert any("newer release" in line for line in database(database_url) if line.startswith("FAIL"))


def test_a_read_only_database_fails(database_url: str, database: Look) -> None:
    name = database_url.rpartition("/")[2]
    execute(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    [wrong] = database(database_url)
    assert "the server is read-only" in wrong


def test_a_user_without_rights_is_told_what_to_grant(database_url: str, database: Look, postgres: Postgres) -> None:
    user = f"poor_{uuid.uuid4().hex[:8]}"
    execute(database_url, f"CREATE ROLE {user} LOGIN", "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    try:
        wrong = database(database_url.replace("osteon@", f"{user}@"))
    finally:
        execute(database_url, f"DROP ROLE {user}")
    assert any("cannot be written" in line and "GRANT CREATE" in line for line in wrong)


def test_a_wrong_password_a_missing_database_and_a_stopped_server_are_told_apart(
    database_url: str, database: Look, postgres: Postgres
) -> None:
    user = f"locked_{uuid.uuid4().hex[:8]}"
    rules = postgres.folder / "cluster" / "pg_hba.conf"
    before = rules.read_text()
    execute(database_url, f"CREATE ROLE {user} LOGIN PASSWORD 'right'")
    try:
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{before}")
        execute(database_url, "SELECT pg_reload_conf()")
        password = database(database_url.replace("osteon@", f"{user}:wrong@"))
    finally:
        rules.write_text(before)
        execute(database_url, "SELECT pg_reload_conf()", f"DROP ROLE {user}")
    missing = database(postgres.url_of("nothing_there"))
    stopped = database(f"postgresql+psycopg://osteon@127.0.0.1:{free_port()}/osteon")
    assert [
        "Put the user and the password" in password[0],
        "createdb" in missing[0],
        "Start PostgreSQL" in stopped[0],
    ] == [
        True,
        True,
        True,
    ]


def test_a_missing_bucket_is_warned_of_and_not_left_behind(objects: Look, seaweedfs: SeaweedFS) -> None:
    bucket = f"doctor-{uuid.uuid4().hex[:8]}"
    [wrong] = objects(bucket)
    assert wrong.startswith(f"WARN there is no bucket {bucket!r}")
    assert not seaweedfs.client().bucket_exists(bucket)


def test_a_bucket_that_works_is_in_order_and_stays_empty(objects: Look, seaweedfs: SeaweedFS) -> None:
    bucket = f"doctor-{uuid.uuid4().hex[:8]}"
    seaweedfs.client().make_bucket(bucket)
    assert objects(bucket) == []
    assert list(seaweedfs.client().list_objects(bucket, recursive=True)) == []


@pytest.mark.parametrize("setting", ["s3_secret_key", "s3_access_key"])
def test_a_wrong_key_names_the_setting(objects: Look, setting: str) -> None:
    [wrong, *_] = objects("osteon", **{setting: "wrong"})
    assert wrong.startswith("FAIL")
    assert f"OSTEON_{setting.upper()}" in wrong


def test_ports_of_an_osteon_that_runs_are_its_own(standalone: RunningArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    http_port = standalone.url.rpartition(":")[2]
    found = look(monkeypatch, "standalone", ["ports"], dicom_port=standalone.dicom_port, http_port=http_port)
    assert bad(found) == []
    assert [each.what.rpartition(" (")[2] for each in found] == [
        "OSTEON_DICOM_PORT) is in use by Osteon, which is running",
        "OSTEON_HTTP_PORT) is in use by Osteon, which is running",
    ]


def test_a_broker_with_an_alarm_takes_no_message(
    own_rabbitmq: RabbitMQ, broker: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osteon.cli.doctor import broker as probe

    monkeypatch.setattr(probe, "_TRIAL_SECONDS", 1.0)
    own_rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")  # the last test of this module: it stays so
    assert any("memory or disk alarm" in line for line in broker(own_rabbitmq.url))
