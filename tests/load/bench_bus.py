"""Messages a second and CPU a message through RabbitMQ: publish with confirmation, consume, acknowledge.

Run: python tests/load/bench_bus.py [messages]
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "deploy" / "local")]

from osteon.bus.rabbit import RabbitBus  # noqa: E402
from osteon.contracts.packs import PackSealed  # noqa: E402
from osteon.contracts.topology import Queue  # noqa: E402
from osteon_local import RabbitMQ  # noqa: E402  (deploy/local is not installed)
from support.bus.messages import sealed, work_queue  # noqa: E402

PUBLISHERS = 8


class Stopwatch:
    """Wall time, CPU of this process and of the broker, a message."""

    def __init__(self, broker: RabbitMQ) -> None:
        self._broker = broker
        self._begin = (time.perf_counter(), time.process_time(), broker_cpu(broker))

    def report(self, name: str, count: int) -> None:
        """Print the figures since the start."""
        wall, own, broker = self._begin
        seconds = time.perf_counter() - wall
        client = (time.process_time() - own) / count * 1000
        server = (broker_cpu(self._broker) - broker) / count * 1000
        print(f"{name:44} {count / seconds:7.0f} /s   client {client:5.2f} ms   broker {server:5.2f} ms a message")


def broker_cpu(broker: RabbitMQ) -> float:
    """Return the CPU seconds that the Erlang VM has used."""
    fields = Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(broker: RabbitMQ, count: int) -> None:
    """Publish alone, consume alone, in batches, and both at once."""
    count -= count % PUBLISHERS  # each publisher does the same
    bus = RabbitBus(broker.url)
    await bus.start()
    single, batched, both = work_queue(), work_queue(), work_queue()
    size = len(sealed(single, "x" * 240).model_dump_json())
    done = asyncio.Event()
    handled = 0

    def arrived(number: int) -> None:
        nonlocal handled
        handled += number
        if handled >= count:
            done.set()

    async def handle(_: PackSealed) -> None:
        arrived(1)

    async def handle_batch(batch: Sequence[PackSealed]) -> None:
        arrived(len(batch))

    print(f"{count} messages of {size} bytes")
    for queue, publishers in ((single, 1), (batched, PUBLISHERS)):
        await bus.declare(queue)
        watch = Stopwatch(broker)
        await asyncio.gather(*(_publish(bus, queue, count // publishers) for _ in range(publishers)))
        watch.report(f"publish, {publishers} at once", count)
    watch = Stopwatch(broker)
    await bus.consume(single, handle, concurrency=8)
    await done.wait()
    watch.report("consume, concurrency 8", count)
    handled = 0
    done.clear()
    watch = Stopwatch(broker)
    await bus.consume_batches(batched, handle_batch, size=50, linger=0.05)
    await done.wait()
    watch.report("consume in batches of 50", count)
    handled = 0
    done.clear()
    watch = Stopwatch(broker)
    await bus.consume(both, handle, concurrency=8)
    await asyncio.gather(*(_publish(bus, both, count // PUBLISHERS) for _ in range(PUBLISHERS)), done.wait())
    watch.report("publish and consume, 8 at once", count)
    await bus.close()


async def _publish(bus: RabbitBus, queue: Queue, count: int) -> None:
    for _ in range(count):
        await bus.publish(sealed(queue, "x" * 240))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, RabbitMQ(Path(folder)) as broker:
        uvloop.run(measure(broker, int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
