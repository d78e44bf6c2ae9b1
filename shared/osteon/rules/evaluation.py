"""Evaluates rules on what sidecars say of instances: what would be sent where.

Routing and the dry run share this code, so that the latter says what the former does.
"""

import asyncio
from collections.abc import AsyncIterable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from osteon.archive.resources import Location
from osteon.contracts.packs import SidecarPlace
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.packs import sidecar
from osteon.remotes.port import RemoteNotFound, Remotes
from osteon.rules.conditions import Candidate, RuleVerdict
from osteon.rules.port import Destination, DestinationKind, Rule

MAX_SHOWN: Final = 1000
"""Instances whose verdicts are kept, when they are to be shown."""

log = get_logger(__name__)


@dataclass(slots=True)
class RuleResult:
    """What came of a rule for the instances of one pack. `matched` and `shown` are by public identifier."""

    matched: list[str] = field(default_factory=list)
    shown: list[tuple[str, RuleVerdict]] = field(default_factory=list)
    problem: str = ""
    """Why the rule could not be evaluated."""


@dataclass(frozen=True, slots=True)
class EvaluatedPack:
    """Instances that came in together, and what came of each rule, by its name."""

    calling_aet: str
    received: datetime
    instances: Sequence[str]
    results: Mapping[str, RuleResult]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What a rule sends to one of its destinations; `skipped` says why it sends nothing or less than matches."""

    rule: Rule
    destination: Destination
    resources: tuple[str, ...]
    instances: int
    skipped: str = ""


def evaluate_pack(data: bytes, rules: Sequence[Rule], wanted: Collection[str], *, show: int = 0) -> EvaluatedPack:
    """Evaluate rules on the instances of a sidecar whose SOP Instance UIDs are wanted. Blocks; raises `BadSidecar`.

    A rule that fails does not keep the others from being evaluated. The verdicts of `show` instances are kept.
    """
    facts, lines = sidecar.decode(data)
    results = {rule.name: RuleResult() for rule in rules}
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
            _evaluate(rule, candidate, public_id, results[rule.name], show=len(instances) <= show)
    return EvaluatedPack(facts.calling_aet, facts.received_at, instances, results)


def _evaluate(rule: Rule, candidate: Candidate, public_id: str, result: RuleResult, *, show: bool) -> None:
    if result.problem:
        return
    try:
        verdict = rule.match.judge(candidate)
    except Exception as error:  # a fault of ours: the other rules must be evaluated all the same
        log.exception("rule failed", rule=rule.name, instance=public_id)
        result.problem = f"{type(error).__name__}: {error}"
        result.matched.clear()
        return
    if verdict.holds:
        result.matched.append(public_id)
    if show:
        result.shown.append((public_id, verdict))


async def evaluate_study(
    locations: AsyncIterable[Location], rules: Sequence[Rule], objects: Objects, *, show: int = 0
) -> list[EvaluatedPack]:
    """Evaluate rules on all instances of a study; raises `BadSidecar`, `ObjectNotFound`. None: there is no study."""
    members: dict[SidecarPlace, set[str]] = {}
    async for location in locations:
        members.setdefault(location.sidecar, set()).add(location.identity.sop_uid)
    packs: list[EvaluatedPack] = []
    for place, wanted in members.items():
        data = await objects.get(*place)
        left = max(0, show - sum(len(pack.instances) for pack in packs))
        packs.append(await asyncio.to_thread(evaluate_pack, data, rules, wanted, show=left))
    return packs


async def dispatches(
    rule: Rule, packs: Sequence[EvaluatedPack], remotes: Remotes, *, study: str = "", now: datetime | None = None
) -> list[Dispatch]:
    """Return what a rule sends where, also what it does not send because of its age or because it came from there.

    `study`: public identifier of the study whose instances `packs` are, all of them.
    """
    matched = [(pack, pack.results[rule.name].matched) for pack in packs]
    if not any(found for _, found in matched):
        return []
    if rule.whole_study:
        matched = [(pack, list(pack.instances)) for pack in packs]
    newest = max(pack.received for pack in packs)
    if newest + timedelta(seconds=rule.patience) < (now or datetime.now(UTC)):
        skipped = f"it came in more than {rule.patience / 86_400:g} days ago, the rule's patience"
        return [Dispatch(rule, destination, (), 0, skipped) for destination in rule.send]
    found = []
    for to in rule.send:
        dispatch = _dispatch(rule, to, await _aet(to, remotes), matched)
        whole = study and dispatch.instances == sum(len(pack.instances) for pack in packs)
        found.append(replace(dispatch, resources=(study,)) if whole else dispatch)
    return found


def _dispatch(rule: Rule, to: Destination, aet: str, matched: Sequence[tuple[EvaluatedPack, list[str]]]) -> Dispatch:
    chosen = [
        each for pack, found in matched if rule.return_to_sender or not aet or pack.calling_aet != aet for each in found
    ]
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
