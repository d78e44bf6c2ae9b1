"""One storm: load, the faults of a plan one after the other, everything brought back, and the verdict."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from storm.check import Verdict, check, settle
from storm.faults import Faults
from storm.ledger import Ledger
from storm.plan import Event, plan
from storm.senders import StormLoad, canary
from storm.worlds import StormArchive

RECOVERY = 120.0
"""Seconds after which an archive that does not come back counts as stuck."""
Say = Callable[[str], None]


@dataclass
class Result:
    """Of one run."""

    name: str
    seed: int
    ledger: Ledger = field(default_factory=Ledger)
    faults: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    """Faults, and seconds from their end until a new instance was stored, indexed and found."""
    failed: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.good and not self.failed


def storm(
    world: StormArchive, seed: int, seconds: float, *, say: Say, associations: int = 4, uploads: int = 1
) -> Result:
    """Run the plan of a seed on a running archive and check it."""
    result = Result(world.name, seed)
    faults = Faults(world)
    with StormLoad(world.folder, world, result.ledger, seed, associations=associations, uploads=uploads):
        for event in plan(seed, seconds, world.targets):
            time.sleep(event.after)
            _strike(event, faults, result, say)
            recover(world, result, ", ".join(map(str, event.faults)), say)
            if result.failed:
                break
    return read_back(world, result, say)


def read_back(world: StormArchive, result: Result, say: Say) -> Result:
    """Wait until everything is stored, and check it."""
    took = settle(world, result.ledger, seconds=RECOVERY)
    say(f"{result.name}: everything stored and found {took:.1f} s after the load ended; reading it back")
    result.verdict = check(world, result.ledger)
    return result


def _strike(event: Event, faults: Faults, result: Result, say: Say) -> None:
    possible = []
    for fault in event.faults:
        if reason := faults.possible(fault):
            result.skipped[f"{fault.kind}: {reason}"] += 1
        else:
            possible.append(fault)
            result.faults[fault.kind] += 1
    say(f"{result.name}: {', '.join(map(str, event.faults))} for {event.hold:.1f} s")
    for fault in possible:
        faults.begin(fault)
    time.sleep(event.hold)
    for fault in possible:
        faults.end(fault)


def recover(world: StormArchive, result: Result, names: str, say: Say) -> None:
    """Wait until a new instance goes all the way."""
    took = canary(world.folder, world, result.ledger, seconds=RECOVERY)
    if took is None:
        say(f"{result.name}: NOT RECOVERED from {names} after {RECOVERY:.0f} s")
        result.failed.append(f"not recovered from {names}")
        return
    result.recoveries.append((names, took))
    say(f"{result.name}: recovered in {took:.1f} s; {result.ledger.acknowledged} acknowledged")


def keep_spool(world: StormArchive, folder: Path) -> None:
    """Copy what is in the spool, whose disk goes with the run, to where it can be looked at."""
    for path in world.spool.rglob("*"):
        if path.is_file():
            target = folder / "spool-kept" / path.relative_to(world.spool)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
