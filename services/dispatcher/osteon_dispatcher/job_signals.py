"""Tells a job of this process that it is to stop, sooner than it would see that in its row."""

import asyncio


class JobSignals:
    """The jobs of this process that can be stopped, by their identifiers."""

    def __init__(self) -> None:
        self._stops: dict[str, asyncio.Event] = {}

    def register(self, job_id: str) -> asyncio.Event:
        """Add a job that runs here; return what is set when it is to stop."""
        return self._stops.setdefault(job_id, asyncio.Event())

    def unregister(self, job_id: str) -> None:
        """Remove a job that does not run here any more."""
        self._stops.pop(job_id, None)

    def request_stop(self, job_id: str) -> None:
        """Have a job stop if it runs here; its row says so already."""
        if job_id in self._stops:
            self._stops[job_id].set()
