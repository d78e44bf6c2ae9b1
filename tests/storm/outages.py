"""Two outages that the spool must bridge: every part is down at once, and the object store until the disk is full."""

import time

from storm.senders import StormLoad
from storm.storm import Result, Say, read_back, recover
from storm.worlds import ClusterWorld
from support.archive.running import eventually
from support.load.modalities import SUCCESS

OUT_OF_RESOURCES = 0xA700
_HIGH_WATER = 0.9
_BELOW = 0.898


def all_parts_down(world: ClusterWorld, seed: int, seconds: float, *, say: Say, associations: int = 4) -> Result:
    """RabbitMQ, PostgreSQL and SeaweedFS are killed at once for so many seconds: no C-STORE may fail."""
    result = Result("all down", seed)
    with StormLoad(world.folder, world, result.ledger, seed, associations=associations, uploads=0):
        time.sleep(1)
        for part in world.cluster.parts:
            part.kill()
        before = result.ledger.acknowledged
        say(f"{result.name}: RabbitMQ, PostgreSQL and SeaweedFS are down for {seconds:.0f} s")
        time.sleep(seconds)
        during = result.ledger.acknowledged - before
    for part in world.cluster.parts:
        part.launch()
    recover(world, result, result.name, say)
    say(f"{result.name}: {during} acknowledged meanwhile")
    if not during or set(result.ledger.statuses) - {SUCCESS} or result.ledger.unanswered:
        result.failed.append(f"C-STORE failed: {dict(result.ledger.statuses)}, {result.ledger.unanswered} unanswered")
    return read_back(world, result, say)


def disk_full(world: ClusterWorld, seed: int, *, say: Say, associations: int = 4) -> Result:
    """The object store is down until the spool reaches its high-water mark: 0xA700, and success again afterwards."""
    result = Result("disk full", seed)
    if not world.disk.real:
        result.skipped["no tmpfs could be mounted: run as root"] += 1
        return result
    with StormLoad(world.folder, world, result.ledger, seed, associations=associations, uploads=0):
        world.disk.fill(_BELOW)
        world.cluster.parts.seaweedfs.kill()
        say(f"{result.name}: the object store is down, the spool at {_BELOW:.1%} of {_HIGH_WATER:.0%}")
        eventually(lambda: result.ledger.statuses[OUT_OF_RESOURCES], seconds=60)
        time.sleep(1)
        world.disk.empty()
        world.cluster.parts.seaweedfs.launch()
        recover(world, result, result.name, say)
    if set(result.ledger.statuses) - {SUCCESS, OUT_OF_RESOURCES} or result.ledger.unanswered:
        result.failed.append(f"wrong answers: {dict(result.ledger.statuses)}, {result.ledger.unanswered} unanswered")
    return read_back(world, result, say)
