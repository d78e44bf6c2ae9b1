"""Routing: rules tried on indexed packs and on stable studies; what they send becomes jobs.

A message or an entry of the change log that comes again finds the jobs that it made before, by their keys.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from osteon import metrics
from osteon.archive.changes import Change, ChangeType
from osteon.contracts.packs import PackIndexed
from osteon.errors import Invalid, NotFound
from osteon.index.port import Index
from osteon.jobs.port import Job
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.remotes.job_params import JobParams, ModalityStoreParams, PeerStoreParams
from osteon.rules.errors import BadRule
from osteon.rules.evaluation import Dispatch, EvaluatedPack, dispatches, evaluate_indexed, evaluate_study
from osteon.rules.parsing import parse_stored
from osteon.rules.port import Destination, DestinationKind, Rule, StoredRule, When

FOLLOWER: Final = "router"
_PER_JOB: Final = 10_000
"""Instances that one job names at most."""
_PAGE: Final = 500
_FOLLOWED: Final = tuple(set(ChangeType) - {ChangeType.NEW_INSTANCE, ChangeType.DELETED})

log = get_logger(__name__)


class Router:
    """Tries rules and submits jobs. Its methods raise `Unavailable`; then the same call may be made again."""

    def __init__(self, index: Index, objects: Objects) -> None:
        self._index = index
        self._objects = objects
        self._stored: Sequence[StoredRule] | None = None
        self._rules: list[Rule] = []

    async def route_pack(self, message: PackIndexed) -> None:
        """Try the rules for instances on what was new in a pack."""
        rules = await self._enabled(When.INSTANCE)
        if not rules or not message.stored:
            return
        pack = await evaluate_indexed(message.pack_id, message.sidecar_key, rules, self._index, self._objects)
        if pack is None:
            log.warning("pack not routed: its sidecar is not there any more", pack=message.pack_id)
            return
        await self._send(rules, [pack], message.pack_id)

    async def follow(self) -> bool:
        """Try the rules for studies on those that became stable since the last call; return whether there is more."""
        since = await self._index.stability.position(FOLLOWER)
        page = await self._index.changes(since=since, limit=_PAGE, types=_FOLLOWED)
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
            packs = await evaluate_study(change.public_id, rules, self._index, self._objects)
        except (Invalid, NotFound) as error:
            # Nobody could mend this by trying again; the study is named, and the others must not wait for it.
            log.error("study not routed: a sidecar cannot be used", study=change.public_id, error=str(error))
            for rule in rules:
                metrics.ROUTING_FAILURES.labels(rule=rule.name).inc()
            return
        await self._send(rules, packs, f"{change.public_id} {change.seq}", study=change.public_id)

    async def _send(
        self, rules: Sequence[Rule], packs: Sequence[EvaluatedPack], occasion: str, *, study: str = ""
    ) -> None:
        for rule in rules:
            problem = next((pack.tried[rule.name].problem for pack in packs if pack.tried[rule.name].problem), "")
            if problem:
                log.error("rule could not be tried", rule=rule.name, problem=problem, occasion=occasion)
                metrics.ROUTING_FAILURES.labels(rule=rule.name).inc()
                continue
            for shipment in await dispatches(rule, packs, self._index.remotes, study=study):
                await self._submit(shipment, occasion)

    async def _submit(self, shipment: Dispatch, occasion: str) -> None:
        rule, to = shipment.rule, shipment.destination
        if shipment.skipped:
            log.info("not routed", rule=rule.name, destination=str(to), reason=shipment.skipped, occasion=occasion)
        for start in range(0, len(shipment.resources), _PER_JOB):
            order = _order(to, shipment.resources[start : start + _PER_JOB])
            job = await self._index.jobs.submit(
                order.TYPE,
                {**order.params(), "patience": rule.patience, "rule": rule.name},
                content={"Description": f"Rule {rule.name}", "Rule": rule.name, "Destination": str(to)},
                priority=rule.priority,
                key=_key(rule, to, occasion, start),
            )
            _count(job, shipment, start)

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
            log.error("rule cannot be used", rule=each.name, error=str(error))
            metrics.ROUTING_FAILURES.labels(rule=each.name).inc()
    return [rule for rule in rules if rule.enabled]


def _order(to: Destination, resources: tuple[str, ...]) -> JobParams:
    if to.kind is DestinationKind.MODALITY:
        return ModalityStoreParams(modality=to.name, resources=resources)
    return PeerStoreParams(peer=to.name, resources=resources)


def _key(rule: Rule, to: Destination, occasion: str, start: int) -> str:
    digest = hashlib.sha256(repr((rule.name, str(to), occasion, start)).encode()).hexdigest()
    return f"rule {digest}"


def _count(job: Job, shipment: Dispatch, start: int) -> None:
    log.info(
        "routed", rule=shipment.rule.name, destination=str(shipment.destination), instances=shipment.instances,
        job=job.id,
    )  # fmt: skip
    if job.attempts == 0 and start == 0:
        metrics.ROUTED_INSTANCES.labels(rule=shipment.rule.name).inc(shipment.instances)
