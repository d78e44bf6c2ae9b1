import asyncio
import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from osteon.spool.paths import OPEN
from osteon.spool.spool import Spool, SpoolConfig
from support.spool import crash_writer
from support.spool.instances import RecordingPublish, contents

WRITER = Path(crash_writer.__file__)


def killed_writer(root: Path, seed: int) -> dict[str, str]:
    """Run a process that stores instances, kill it at a random moment, return what it had acknowledged."""
    process = subprocess.Popen([sys.executable, WRITER, root, str(seed)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline()]
        assert lines[0], "the process stored nothing"
        time.sleep(random.Random(seed).uniform(0.05, 0.6))
    finally:
        process.kill()
        lines += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
    words = (line.split() for line in lines)
    return {found[0]: found[1] for found in words if len(found) == 2 and len(found[1]) == 64}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_what_was_acknowledged_before_a_kill_is_published_by_the_next_process(tmp_path: Path, seed: int) -> None:
    acknowledged = killed_writer(tmp_path, seed)
    assert acknowledged
    published = RecordingPublish()
    spool = await Spool.open(SpoolConfig(root=tmp_path, sweep_every=0.05, adopt_every=0.05), published)
    try:
        async with asyncio.timeout(60):
            while any(tmp_path.glob(f"*/*{OPEN}")) or len(published.packs) < len(list(tmp_path.glob("*/*.tar"))):
                await asyncio.sleep(0.02)
        found = {}
        for pack in published.packs:
            members = contents(tmp_path / pack.path)
            assert len(members) == pack.instances
            found |= {sop: hashlib.sha256(data).hexdigest() for sop, data in members.items()}
        missing = {sop for sop, digest in acknowledged.items() if found.get(sop) != digest}
        assert not missing
    finally:
        await spool.close(1)
