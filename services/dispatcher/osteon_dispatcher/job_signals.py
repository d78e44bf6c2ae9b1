"""Wakes those who wait for a job of this process, sooner than a look at its row would."""

import asyncio
from contextlib import suppress


class JobSignals:
    """Tells those who watch a job, and the job that somebody wants it to stop, when both are in this process."""

    def __init__(self) -> None:
        self._news: dict[str, asyncio.Event] = {}
        self._stops: dict[str, asyncio.Event] = {}

    def begin(self, job_id: str) -> asyncio.Event:
        """A job runs here; return what is set when somebody wants it to stop."""
        self._news[job_id] = asyncio.Event()
        self._stops[job_id] = asyncio.Event()
        return self._stops[job_id]

    def ring(self, job_id: str) -> None:
        """There is news."""
        if job_id in self._news:
            self._news[job_id].set()
            self._news[job_id] = asyncio.Event()

    def end(self, job_id: str) -> None:
        """The job does not run here any more."""
        self.ring(job_id)
        self._news.pop(job_id, None)
        self._stops.pop(job_id, None)

    def stop(self, job_id: str) -> None:
        """Somebody wants it to stop, which its row says already."""
        if job_id in self._stops:
            self._stops[job_id].set()

    async def heard(self, job_id: str, seconds: float) -> None:
        """Wait for news of a job, or so long."""
        news = self._news.get(job_id)
        if news is None:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()
