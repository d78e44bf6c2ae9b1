"""Floods of what is small, repeated or endless: they are processed in slices, and everyone else goes on meanwhile."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from osteon.dimse.read_turns import ROUND_STEPS
from osteon.dimse.service_provider import ServiceProvider
from osteon.dimse.stream import SLICE_STEPS
from osteon.dimse.upper_layer import UpperLayer
from support.dimse.attacks import ASSOCIATION_ATTACKS, REQUEST_ATTACKS, Attack, association_request, flood
from support.dimse.raw_peer import RawPeer, RecordingHandler, pdu, running
from support.fuzz.acceptor import FuzzedAcceptor, under_attack
from support.loop_probe import LoopProbe, probed_loop

SOME_BYTES = 200_000
COMMAND_STEPS = 16
LONGEST_TURN = 0.3
"""Seconds of CPU; on a quiet machine it is below 0.03, and was up to 0.4 when a read was processed at once."""
every_attack = pytest.mark.parametrize("attack", (*ASSOCIATION_ATTACKS, *REQUEST_ATTACKS), ids=lambda each: each.name)


@pytest.fixture
def count_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[LoopProbe], None]:
    """Count fragments and commands of each round of the loop, in steps."""

    def count(probe: LoopProbe) -> None:
        fragment, begin = UpperLayer.fragment, ServiceProvider.begin

        def counted_fragment(*args: object) -> None:
            probe.work += 1
            fragment(*args)  # type: ignore[arg-type]

        def counted_begin(*args: object) -> object:
            probe.work += COMMAND_STEPS
            return begin(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(UpperLayer, "fragment", counted_fragment)
        monkeypatch.setattr(ServiceProvider, "begin", counted_begin)

    return count


async def send(target: FuzzedAcceptor, attack: Attack, data: bytes) -> None:
    """Send all of an attack, then close."""
    peer = await target.peer()
    if attack.associated:
        await peer.send(association_request())
        assert (await peer.receive())[0] == 2
    reading = asyncio.create_task(drain(peer))
    await peer.send(data, pdu(7))
    with suppress(OSError):
        peer.writer.write_eof()
    await reading
    await peer.close()


async def drain(peer: RawPeer) -> None:
    with suppress(ConnectionError):
        while await peer.reader.read(1 << 16):
            pass


@every_attack
async def test_a_round_of_the_loop_processes_a_slice_of_a_flood(
    attack: Attack, count_work: Callable[[LoopProbe], None]
) -> None:
    data = attack.make(min(attack.size, SOME_BYTES))
    async with under_attack() as target:
        with probed_loop() as probe:
            count_work(probe)
            await send(target, attack, data)
    # A slice of what was read, one of what waited, and what the bystander sends.
    assert probe.most_work <= 3 * SLICE_STEPS


async def test_many_floods_together_take_no_more_of_a_round_than_is_allowed_for_all(
    count_work: Callable[[LoopProbe], None],
) -> None:
    attack = ASSOCIATION_ATTACKS[0]
    data = attack.make(50_000)
    async with under_attack() as target:
        with probed_loop() as probe:
            count_work(probe)
            await asyncio.gather(*(send(target, attack, data) for _ in range(100)))
    assert probe.most_work <= ROUND_STEPS + 2 * SLICE_STEPS


@pytest.mark.slow
@every_attack
async def test_no_flood_holds_the_loop(attack: Attack) -> None:
    data = attack.make(attack.size)
    async with running(RecordingHandler(keep=False)) as target:
        with probed_loop() as probe:
            await asyncio.to_thread(flood, target.port, attack, data)
    assert probe.longest < LONGEST_TURN
