"""Routing: rules are evaluated on indexed packs and on stable studies; what they send becomes jobs.

A message or an entry of the change log that comes again finds the jobs that it made before, by their keys.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from osteon import metrics
from osteon.archive.changes import ABOVE_INSTANCES, Change, ChangeType
from osteon.archive.pack_records import InstanceState
from osteon.archive.resources import InstanceScope
from osteon.contracts.packs import PackIndexed
from osteon.errors import Invalid, NotFound
from osteon.index.port import Index
from osteon.jobs.port import Job
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.remotes.job_params import JobParams, ModalityStoreParams, PeerStoreParams
from osteon.rules.errors import BadRule
from osteon.rules.evaluation import Dispatch, EvaluatedPack, dispatches, evaluate_pack, evaluate_study
from osteon.rules.parsing import parse_stored
from osteon.rules.port import Destination, DestinationKind, Rule, StoredRule, When

FOLLOWER: Final = "router"
_PER_JOB: Final = 10_000
"""Instances that one job names at most."""
_PACKS_AT_ONCE: Final = 4
"""Packs whose sidecars are read and evaluated at the same time."""
_PAGE: Final = 500

log = get_logger(__name__)


class Router:
    """Evaluates rules and submits jobs. Its methods raise `Unavailable`; then the same call may be made again."""

    def __init__(self, index: Index, objects: Objects) -> None:
        self._index = index
        self._objects = objects
        self._stored: Sequence[StoredRule] | None = None
        self._rules: list[Rule] = []

    async def route_packs(self, messages: Sequence[PackIndexed]) -> None:
        """Evaluate the rules for instances, read once, on what was new in each pack; what was made here is not new."""
        grown = [each for each in messages if each.stored and not each.reconciled_by]
        if grown and (rules := await self._enabled(When.INSTANCE)):
            for start in range(0, len(grown), _PACKS_AT_ONCE):
                packs = grown[start : start + _PACKS_AT_ONCE]
                await asyncio.gather(*(self._route_pack(message, rules) for message in packs))

    async def _route_pack(self, message: PackIndexed, rules: Sequence[Rule]) -> None:
        states = await self._index.outcome(message.pack_id)
        new = {uid for uid, state in states.items() if state is InstanceState.STORED}
        try:
            sidecar = await self._objects.get(*message.sidecar)
        except ObjectNotFound:
            log.warning("pack not routed: sidecar not found", pack=message.pack_id)
            return
        pack = await asyncio.to_thread(evaluate_pack, sidecar, rules, new)
        await self._send(rules, [pack], message.pack_id)

    async def route_stable_studies(self) -> bool:
        """Evaluate the rules for studies on those that became stable since then; return whether more is left."""
        since = await self._index.stability.position(FOLLOWER)
        page = await self._index.changes(since=since, limit=_PAGE, types=tuple(ABOVE_INSTANCES))
        for change in page.changes:
            if change.type is ChangeType.STABLE_STUDY:
                await self._route_study(change)
                await self._index.stability.advance(FOLLOWER, change.seq)
        if page.last > since:
            await self._index.stability.advance(FOLLOWER, page.last)
        return not page.done

    async def _route_study(self, change: Change) -> None:
        rules = await self._enabled(When.STUDY)
        if not rules:
            return
        try:
            packs = await evaluate_study(
                self._index.locate(InstanceScope(public_id=change.public_id)), rules, self._objects
            )
        except (Invalid, NotFound) as error:
            # Trying again cannot repair this; the study is named, and the others must not wait for it.
            log.error("study not routed: unusable sidecar", study=change.public_id, error=str(error))
            for rule in rules:
                metrics.ROUTING_FAILURES.labels(rule=rule.name).inc()
            return
        await self._send(rules, packs, f"{change.public_id} {change.seq}", study=change.public_id)

    async def _send(
        self, rules: Sequence[Rule], packs: Sequence[EvaluatedPack], occasion: str, *, study: str = ""
    ) -> None:
        for rule in rules:
            problem = next((pack.results[rule.name].problem for pack in packs if pack.results[rule.name].problem), "")
            if problem:
                log.error("rule evaluation failed", rule=rule.name, problem=problem, occasion=occasion)
                metrics.ROUTING_FAILURES.labels(rule=rule.name).inc()
                continue
            for dispatch in await dispatches(rule, packs, self._index.remotes, study=study):
                await self._submit(dispatch, occasion)

    async def _submit(self, dispatch: Dispatch, occasion: str) -> None:
        rule, to = dispatch.rule, dispatch.destination
        if dispatch.skipped:
            log.info("not routed", rule=rule.name, destination=str(to), reason=dispatch.skipped, occasion=occasion)
        for start in range(0, len(dispatch.resources), _PER_JOB):
            params = _params(to, dispatch.resources[start : start + _PER_JOB])
            job = await self._index.jobs.submit(
                params.TYPE,
                {**params.params(), "patience": rule.patience, "rule": rule.name},
                content={"Description": f"Rule {rule.name}", "Rule": rule.name, "Destination": str(to)},
                priority=rule.priority,
                key=_key(rule, to, occasion, start),
            )
            _count(job, dispatch, start)

    async def _enabled(self, when: When) -> list[Rule]:
        """Read the rules as they are now, so that one that was put holds for what is indexed from then on."""
        stored = await self._index.rules.all()
        if stored != self._stored:
            self._stored, self._rules = stored, _parsed(stored)
        return [rule for rule in self._rules if rule.when is when]


def _parsed(stored: Sequence[StoredRule]) -> list[Rule]:
    rules = []
    for each in stored:
        try:
            rules.append(parse_stored(each))
        except BadRule as error:
            log.error("rule invalid", rule=each.name, error=str(error))
            metrics.ROUTING_FAILURES.labels(rule=each.name).inc()
    return [rule for rule in rules if rule.enabled]


def _params(to: Destination, resources: tuple[str, ...]) -> JobParams:
    if to.kind is DestinationKind.MODALITY:
        return ModalityStoreParams(modality=to.name, resources=resources)
    return PeerStoreParams(peer=to.name, resources=resources)


def _key(rule: Rule, to: Destination, occasion: str, start: int) -> str:
    digest = hashlib.sha256(repr((rule.name, str(to), occasion, start)).encode()).hexdigest()
    return f"rule {digest}"


def _count(job: Job, dispatch: Dispatch, start: int) -> None:
    log.info(
        "routed", rule=dispatch.rule.name, destination=str(dispatch.destination), instances=dispatch.instances,
        job=job.id,
    )  # fmt: skip
    if job.attempts == 0 and start == 0:
        metrics.ROUTED_INSTANCES.labels(rule=dispatch.rule.name).inc(dispatch.instances)
