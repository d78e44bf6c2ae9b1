"""`make storm`: storms over the cluster and over standalone, and a table of what came of them."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from storm.outages import all_parts_down, disk_full
from storm.report import table
from storm.storm import Result, keep_spool, storm
from storm.worlds import ClusterWorld, StandaloneWorld, StormArchive

WORLDS: dict[str, type[StormArchive]] = {"cluster": ClusterWorld, "standalone": StandaloneWorld}


def main() -> int:
    """Run, report, and return 1 when something was lost, invented, stuck or left behind."""
    options = parse(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # so that everything is stopped and unmounted
    print(f"seed {options.seed}", flush=True)
    seeds = range(options.seed, options.seed + options.runs)
    results = [result for seed in seeds for name in options.only for result in run(name, seed, options)]
    print(table(results))
    return 0 if all(result.good for result in results) else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the first run; then + 1")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults in each run, recovery not counted")
    parser.add_argument("--only", nargs="*", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--outage", type=float, default=60.0, help="seconds for which all parts are down at once")
    parser.add_argument("--keep", action="store_true", help="keep logs and data, also when all is well")
    return parser.parse_args(arguments)


def run(name: str, seed: int, options: argparse.Namespace) -> list[Result]:
    """Run one storm, on the cluster also the outages, in a folder that is kept when something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="osteon-storm-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    say(f"{name}: seed {seed}, starting")
    good = False
    try:
        with WORLDS[name](folder) as world:
            results = [storm(world, seed, options.seconds, say=say)]
            if isinstance(world, ClusterWorld) and results[0].good and options.outage:
                results += [all_parts_down(world, seed, options.outage, say=say), disk_full(world, seed, say=say)]
            good = all(result.good for result in results) and not options.keep
            if not good:
                keep_spool(world, folder)
        return results
    finally:
        if good:
            shutil.rmtree(folder)
        else:
            say(f"{name}: logs and data are kept in {folder}")


if __name__ == "__main__":
    sys.exit(main())
