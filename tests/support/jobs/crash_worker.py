"""A process for crash tests: runs jobs of the type `a` for ever and prints each step that it has done.

`python crash_worker.py <database URL> <lease in seconds>`; a line is the number of a step, of twenty in each job.
"""

import asyncio
import sys

from osteon.index.sql import SqlIndex
from osteon.jobs.run import JobRun, JobType
from osteon.jobs.runner import JobRunner, RunnerConfig


async def work(run: JobRun) -> None:
    for step in range(run.job.checkpoint.get("step", 0), 20):
        print(step, flush=True)
        await asyncio.sleep(0.03)
        await run.save(progress=step * 5, checkpoint={"step": step + 1})


async def main(url: str, lease: float) -> None:
    index = SqlIndex(url, pool=3)
    await index.start()
    async with JobRunner(index.jobs, {"a": JobType(work, 60)}, RunnerConfig(lease=lease, poll=0.1)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
