"""Jobs in the index (`osteon.jobs.port.Jobs`)."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import Column, Float, Integer, Row, Select, Table, Text, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon import tracing
from osteon.index.database import Database
from osteon.index.tables import Bytewise, Moment, metadata
from osteon.jobs.error_codes import ErrorCode
from osteon.jobs.port import Job, JobCommand, JobNotFound, JobOutcome, JobState, LeaseLost, WrongState

T = TypeVar("T")


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _numbers(*names: str) -> list[Column[int]]:
    return [Column(name, Integer, nullable=False) for name in names]


jobs: Final = Table(
    "jobs", metadata,
    Column("id", Bytewise, primary_key=True),
    Column("key", Bytewise, unique=True),
    *_texts("type", "state", "params", "content", "checkpoint"),
    *_numbers("priority", "progress", "attempts", "faults"),
    Column("created", Moment, nullable=False, index=True),
    Column("due", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    Column("completed", Moment, index=True),
    Column("claimable", Moment, index=True),
    Column("renewed", Moment),
    Column("runtime", Float, nullable=False),
    *_numbers("error_code"),
    *_texts("error"),
    Column("command", Text),
    Column("worker", Text),
)  # fmt: skip
"""`params`, `content` and `checkpoint`: JSON. `claimable`: from when on a worker may take the job, so the end of the
lease of one that is running; none when it is paused or over. `renewed`: when its worker renewed the lease last."""

_c: Final = jobs.c
_JSON: Final = ("params", "content", "checkpoint")
_SHOWN: Final = [_c[field.name] for field in fields(Job)]
_OVER: Final = (JobState.SUCCESS, JobState.FAILURE)


class SqlJobs:
    """Implements `osteon.jobs.port.Jobs`. Leases count by the database's clock, which all workers share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._arrival = asyncio.Event()

    async def submit(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        content: Mapping[str, Any] | None = None,
        priority: int = 0,
        key: str | None = None,
        due: datetime | None = None,
    ) -> Job:
        """See `Jobs`."""
        now, params = datetime.now(UTC), tracing.inject_into_job(params)
        values = {
            "id": str(uuid.uuid4()), "key": key, "type": type, "state": JobState.PENDING.value, "priority": priority,
            "params": _json(params), "content": _json(content or {}), "checkpoint": "{}", "progress": 0, "attempts": 0,
            "faults": 0, "created": now, "since": now, "due": due or now, "claimable": due or now, "runtime": 0.0,
            "error_code": 0, "error": "",
        }  # fmt: skip
        insert = self._database.dialect.insert(jobs).on_conflict_do_nothing(index_elements=["key"])
        same = _c.id == values["id"] if key is None else _c.key == key

        async def work(connection: AsyncConnection) -> Job:
            await connection.execute(insert, [values])
            return _job((await connection.execute(select(*_SHOWN).where(same))).one())

        job = await self._database.write(work)
        self._arrival.set()
        return job

    async def get(self, job_id: str) -> Job:
        """See `Jobs`."""
        async with self._database.read() as connection:
            return _job(await _row(connection, select(*_SHOWN), job_id))

    async def list(
        self, *, states: Sequence[JobState] = (), types: Sequence[str] = (), limit: int = 1000
    ) -> Sequence[Job]:
        """See `Jobs`."""
        chosen = select(*_SHOWN).order_by(_c.created.desc(), _c.id).limit(limit)
        if states:
            chosen = chosen.where(_c.state.in_(states))
        if types:
            chosen = chosen.where(_c.type.in_(types))
        async with self._database.read() as connection:
            return [_job(row) for row in await connection.execute(chosen)]

    async def command(self, job_id: str, command: JobCommand) -> Job:
        """See `Jobs`."""
        now = datetime.now(UTC)

        async def work(connection: AsyncConnection) -> Job:
            job = _job(await _row(connection, select(*_SHOWN).with_for_update(), job_id))
            await _change(connection, job_id, _commanded(job, command, now))
            return _job(await _row(connection, select(*_SHOWN), job_id))

        job = await self._database.write(work)
        self._arrival.set()
        return job

    async def delete(self, job_id: str) -> None:
        """See `Jobs`."""

        async def work(connection: AsyncConnection) -> None:
            job = _job(await _row(connection, select(*_SHOWN).with_for_update(), job_id))
            if job.state not in _OVER:
                raise WrongState(
                    f"job {job_id} is {job.state}: only a job that is over can be deleted, cancel it first"
                )
            await connection.execute(delete(jobs).where(_c.id == job_id))

        await self._database.write(work)

    async def claim(self, worker: str, types: Sequence[str], lease: float) -> Job | None:
        """See `Jobs`."""
        now = self._database.dialect.now()
        ready = _c.claimable <= now, _c.type.in_(types)
        async with self._database.read() as connection:  # SQLite has one writer, which a look must not block
            if (await connection.execute(select(_c.id).where(*ready).limit(1))).first() is None:
                return None
        chosen = select(*_SHOWN, now.label("now")).where(*ready).order_by(_c.priority.desc(), _c.created, _c.id)

        async def work(connection: AsyncConnection) -> Job | None:
            row = (await connection.execute(chosen.limit(1).with_for_update(skip_locked=True))).first()
            if row is None:
                return None
            died = row.state == JobState.RUNNING
            await _change(
                connection, row.id,
                {
                    "state": JobState.RUNNING.value, "worker": worker, "renewed": row.now, "completed": None,
                    "claimable": row.now + timedelta(seconds=lease), "attempts": row.attempts + 1,
                    "faults": row.faults + died, "error_code": 0, "error": "",
                },
            )  # fmt: skip
            return _job(await _row(connection, select(*_SHOWN), row.id))

        return await self._database.write(work)

    async def save(
        self,
        job_id: str,
        worker: str,
        *,
        lease: float,
        progress: int | None = None,
        content: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> JobCommand | None:
        """See `Jobs`."""
        values: dict[str, Any] = {
            "progress": None if progress is None else max(0, min(100, progress)),
            "content": None if content is None else _json(content),
            "checkpoint": None if checkpoint is None else _json(checkpoint),
        }
        changed = {name: value for name, value in values.items() if value is not None}

        async def work(connection: AsyncConnection, row: Row[Any], spent: dict[str, Any]) -> JobCommand | None:
            renewed = {"claimable": row.now + timedelta(seconds=lease)}
            await _change(connection, job_id, {**changed, **spent, **renewed})
            return None if row.command is None else JobCommand(row.command)

        return await self._leased(job_id, worker, work)

    async def finish(self, job_id: str, worker: str, end: JobOutcome) -> None:
        """See `Jobs`."""

        async def work(connection: AsyncConnection, row: Row[Any], spent: dict[str, Any]) -> None:
            await _change(connection, job_id, {**spent, **_ended(row, end)})

        await self._leased(job_id, worker, work)

    async def wait_for_work(self, timeout: float) -> None:
        """See `Jobs`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):  # wait_for would lose a cancellation that comes with the event
                await self._arrival.wait()
        self._arrival.clear()

    async def counts(self) -> Mapping[tuple[str, JobState], int]:
        """See `Jobs`."""
        grouped = select(_c.type, _c.state, func.count()).group_by(_c.type, _c.state)
        async with self._database.read() as connection:
            return {(kind, JobState(state)): count for kind, state, count in await connection.execute(grouped)}

    async def prune(self, *, keep: int, older_than: datetime) -> int:
        """See `Jobs`."""
        ended = select(_c.id).where(_c.completed.is_not(None)).order_by(_c.completed.desc(), _c.id)
        old = delete(jobs).where(_c.completed < older_than, _c.id.not_in(ended.limit(keep)))
        return await self._database.execute(old)

    async def _leased(
        self, job_id: str, worker: str, work: Callable[[AsyncConnection, Row[Any], dict[str, Any]], Awaitable[T]]
    ) -> T:
        """Change a job that `worker` holds; `work` gets its row, and the columns of its run time."""
        chosen = select(jobs, self._database.dialect.now().label("now")).where(_c.id == job_id, _c.worker == worker)

        async def within(connection: AsyncConnection) -> T:
            row = (await connection.execute(chosen.with_for_update())).first()
            if row is None:
                raise LeaseLost(f"job {job_id} was taken over by another worker, or deleted")
            seconds = max(0.0, (row.now - row.renewed).total_seconds())
            return await work(connection, row, {"runtime": row.runtime + seconds, "renewed": row.now})

        return await self._database.write(within)


def _commanded(job: Job, command: JobCommand, now: datetime) -> dict[str, Any]:
    """Return what a command changes in a job's row; raises `WrongState`."""
    if command in (JobCommand.RESUME, JobCommand.RESUBMIT):
        return _again(job, command, now)
    if job.state in _OVER or job.command is JobCommand.CANCEL:
        return {}
    if job.state is JobState.RUNNING:
        return {"command": command.value}
    if command is JobCommand.PAUSE:
        return {"state": JobState.PAUSED.value, "claimable": None}
    cancelled = {"error_code": ErrorCode.CANCELED_JOB.value, "error": ""}
    return {"state": JobState.FAILURE.value, "claimable": None, "completed": now, **cancelled}


def _again(job: Job, command: JobCommand, now: datetime) -> dict[str, Any]:
    changed: dict[str, Any] = {
        "state": JobState.PENDING.value, "claimable": now, "due": now, "since": now, "completed": None, "command": None,
    }  # fmt: skip
    if command is JobCommand.RESUBMIT:
        if job.state is not JobState.FAILURE:
            raise WrongState(f"job {job.id} is {job.state}: only a job that failed can be resubmitted")
        return {**changed, "attempts": 0, "faults": 0, "error_code": 0, "error": ""}
    if job.state is JobState.RUNNING and job.command is JobCommand.PAUSE:
        return {"command": None}
    if job.state is not JobState.PAUSED:
        raise WrongState(f"job {job.id} is {job.state}: only a paused job can be resumed")
    return changed


def _ended(row: Row[Any], end: JobOutcome) -> dict[str, Any]:
    """Return what changes in the row of a job whose run has ended."""
    values: dict[str, Any] = {
        "state": end.state.value, "worker": None, "claimable": None, "error_code": end.error_code, "error": end.error,
        "faults": row.faults + end.fault,
    }  # fmt: skip
    if end.state in _OVER:
        values |= {"completed": row.now, "command": None}
    elif end.state is JobState.PAUSED:
        values["command"] = None
    else:
        due = end.due or row.now
        values |= {"due": due, "claimable": due}
    if end.state is JobState.SUCCESS:
        values["progress"] = 100
    if end.state is JobState.PENDING:
        values["attempts"] = row.attempts - 1
    return values


async def _row(connection: AsyncConnection, chosen: Select[Any], job_id: str) -> Row[Any]:
    found = job_id.isascii() and job_id.isprintable()  # PostgreSQL takes no NUL
    row: Row[Any] | None = (await connection.execute(chosen.where(_c.id == job_id))).first() if found else None
    if row is None:
        raise JobNotFound(f"there is no job {job_id[:80]!r}")
    return row


async def _change(connection: AsyncConnection, job_id: str, values: Mapping[str, Any]) -> None:
    if values:
        await connection.execute(update(jobs).where(_c.id == job_id).values(**values))


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _job(row: Row[Any]) -> Job:
    values = {field.name: getattr(row, field.name) for field in fields(Job)}
    for name in _JSON:
        values[name] = orjson.loads(values[name])
    values["state"] = JobState(values["state"])
    values["command"] = None if values["command"] is None else JobCommand(values["command"])
    return Job(**values)
