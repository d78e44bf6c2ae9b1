"""Tries rules on what sidecars say of instances, and tells what would be sent where.

Routing and the dry run go the same way, so that the latter tells the truth.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from osteon.archive.pack_records import InstanceState
from osteon.archive.ports import InstanceLocator, PackOutcomes
from osteon.archive.resources import InstanceScope
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs import sidecar
from osteon.remotes.port import RemoteNotFound, Remotes
from osteon.rules.conditions import Candidate, RuleVerdict
from osteon.rules.port import Destination, DestinationKind, Rule

MAX_SHOWN: Final = 1000
"""Instances of which a trial keeps its verdicts, when it is to show them."""

log = get_logger(__name__)


@dataclass(slots=True)
class RuleResult:
    """What came of a rule for the instances of one pack. `matched` and `shown` are by public identifier."""

    matched: list[str] = field(default_factory=list)
    shown: list[tuple[str, RuleVerdict]] = field(default_factory=list)
    problem: str = ""
    """Why the rule could not be tried."""


@dataclass(frozen=True, slots=True)
class EvaluatedPack:
    """Instances that came in together, and what came of each rule, by its name."""

    calling_aet: str
    received: datetime
    instances: Sequence[str]
    tried: Mapping[str, RuleResult]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What a rule sends to one of its destinations; `skipped` tells why it sends nothing or less than matches."""

    rule: Rule
    destination: Destination
    resources: tuple[str, ...]
    instances: int
    skipped: str = ""


def evaluate_pack(data: bytes, rules: Sequence[Rule], wanted: Collection[str], *, show: int = 0) -> EvaluatedPack:
    """Try rules on the instances of a sidecar whose SOP Instance UIDs are wanted. Blocks; raises `BadSidecar`.

    A rule that fails does not keep the others from being tried. The verdicts of `show` instances are kept.
    """
    facts, lines = sidecar.decode(data)
    tried = {rule.name: RuleResult() for rule in rules}
    instances = []
    for line in lines:
        if line.identity.sop_uid not in wanted:
            continue
        public_id = line.identity.public_instance
        instances.append(public_id)
        named = {
            "CallingAET": facts.calling_aet, "RemoteHost": facts.remote_host, "Origin": facts.origin.value,
            "TransferSyntaxUID": line.transfer_syntax_uid,
        }  # fmt: skip
        candidate = Candidate(orjson.loads(line.header.json), named)
        for rule in rules:
            _evaluate(rule, candidate, public_id, tried[rule.name], show=len(instances) <= show)
    return EvaluatedPack(facts.calling_aet, facts.received_at, instances, tried)


def _evaluate(rule: Rule, candidate: Candidate, public_id: str, tried: RuleResult, *, show: bool) -> None:
    if tried.problem:
        return
    try:
        verdict = rule.match.judge(candidate)
    except Exception as error:  # a fault of ours: the other rules must be tried all the same
        log.exception("rule failed", rule=rule.name, instance=public_id)
        tried.problem = f"{type(error).__name__}: {error}"
        tried.matched.clear()
        return
    if verdict.holds:
        tried.matched.append(public_id)
    if show:
        tried.shown.append((public_id, verdict))


async def evaluate_indexed(
    pack_id: str, sidecar_key: str, rules: Sequence[Rule], index: PackOutcomes, objects: Objects
) -> EvaluatedPack | None:
    """Try rules on the instances that came with a pack and were new; None when it is not there any more."""
    outcome = await index.outcome(pack_id)
    wanted = {uid for uid, state in outcome.items() if state is InstanceState.STORED}
    try:
        data = await objects.get(sidecar_key)
    except ObjectNotFound:
        return None
    return await asyncio.to_thread(evaluate_pack, data, rules, wanted)


async def evaluate_study(
    public_id: str, rules: Sequence[Rule], index: InstanceLocator, objects: Objects, *, show: int = 0
) -> list[EvaluatedPack]:
    """Try rules on all instances of a study; raises `BadSidecar`, `ObjectNotFound`. No packs: there is no study."""
    members: dict[str, set[str]] = {}
    async for place in index.locate(InstanceScope(public_id=public_id)):
        members.setdefault(place.sidecar_key, set()).add(place.identity.sop_uid)
    packs: list[EvaluatedPack] = []
    for key, wanted in members.items():
        data = await objects.get(key)
        left = max(0, show - sum(len(pack.instances) for pack in packs))
        packs.append(await asyncio.to_thread(evaluate_pack, data, rules, wanted, show=left))
    return packs


async def dispatches(
    rule: Rule, packs: Sequence[EvaluatedPack], remotes: Remotes, *, study: str = "", now: datetime | None = None
) -> list[Dispatch]:
    """Return what a rule sends where, also what it does not send because of its age or because it came from there.

    `study`: public identifier of the study whose instances `packs` are, all of them.
    """
    matched = [(pack, pack.tried[rule.name].matched) for pack in packs]
    if not any(found for _, found in matched):
        return []
    if rule.whole:
        matched = [(pack, list(pack.instances)) for pack in packs]
    newest = max(pack.received for pack in packs)
    if newest + timedelta(seconds=rule.patience) < (now or datetime.now(UTC)):
        skipped = f"it came in more than {rule.patience / 86_400:g} days ago, the rule's patience"
        return [Dispatch(rule, destination, (), 0, skipped) for destination in rule.send]
    found = []
    for to in rule.send:
        shipment = _dispatch(rule, to, await _aet(to, remotes), matched)
        whole = study and shipment.instances == sum(len(pack.instances) for pack in packs)
        found.append(replace(shipment, resources=(study,)) if whole else shipment)
    return found


def _dispatch(rule: Rule, to: Destination, aet: str, matched: Sequence[tuple[EvaluatedPack, list[str]]]) -> Dispatch:
    chosen = [each for pack, found in matched if rule.back or not aet or pack.calling_aet != aet for each in found]
    missing = sum(len(found) for _, found in matched) - len(chosen)
    skipped = f"{missing} came from there" if missing else ""
    return Dispatch(rule, to, tuple(chosen), len(chosen), skipped)


async def _aet(destination: Destination, remotes: Remotes) -> str:
    """Return the AE title of a modality that is known, else nothing: an order for it then says what is wrong."""
    if destination.kind is not DestinationKind.MODALITY:
        return ""
    try:
        return (await remotes.modality(destination.name)).aet
    except RemoteNotFound:
        return ""
