"""A process for crash tests: stores instances for ever and prints each one that was acknowledged.

`python crash_writer.py <spool> <seed>`; a line is `<SOP Instance UID> <SHA-256 of the data set>`.
"""

import asyncio
import hashlib
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from osteon.errors import Unavailable
from osteon.spool.sealed_pack import SealedPack
from osteon.spool.spool import Spool, SpoolConfig
from support.spool.instances import association, data_set, store


async def no_broker(_: SealedPack) -> None:
    raise Unavailable("no broker")


async def send(spool: Spool, number: int, dice: random.Random) -> None:
    index = 0
    while True:
        intake = spool.open_association(association(str(number)))
        for _ in range(dice.randrange(1, 20)):
            index += 1
            sop = f"1.9.{number}.{index}"
            pixels = dice.randbytes(dice.choice((0, 3, 700, 40_000, 300_000, 3_000_000)))
            data = data_set(sop, series=f"1.2.{number}.{dice.randrange(3)}", pixels=pixels)
            outcome = await store(intake, sop, data, piece=64 << 10)
            assert outcome.status == 0, outcome
            print(sop, hashlib.sha256(data).hexdigest(), flush=True)
        await spool.close_association(intake)


async def main(root: Path, seed: int) -> None:
    spool = await Spool.open(SpoolConfig(root=root, pack_size=2 << 20, pack_seconds=0.1), no_broker)
    await asyncio.gather(*(send(spool, number, random.Random(seed * 10 + number)) for number in range(3)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
