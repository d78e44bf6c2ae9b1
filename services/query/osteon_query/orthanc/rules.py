"""Routing rules: list, change, try without sending. Beyond Orthanc's API."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.query import Level
from osteon.index.port import Scope
from osteon.objects.port import ObjectNotFound
from osteon.rules.errors import BadRule
from osteon.rules.evaluation import MAX_SHOWN, Dispatch, EvaluatedPack, dispatches, evaluate_study
from osteon.rules.parsing import parse_stored, rule_from, rule_object, stored_rule
from osteon.rules.port import Rule
from osteon_query.http.bodies import json_body, json_object
from osteon_query.http.context import Door, DoorOf, resource_id
from osteon_query.http.errors import BadParameter, Unreadable
from osteon_query.orthanc.destinations import failed_jobs, failure_object, replay_all
from osteon_query.orthanc.expanding import asks_to_expand
from osteon_query.orthanc.resources import json_response

router = APIRouter(tags=["Routing"])

_SHOWN_RESOURCES: Final = 100


@router.get("/rules")
async def rules(request: Request, door: DoorOf) -> Response:
    """List the names of rules, or all of them by name with `expand`."""
    found = await door.index.rules.all()
    if asks_to_expand(request):
        return json_response({rule.name: rule_object(rule) for rule in found})
    return json_response([rule.name for rule in found])


@router.post("/rules/dry-run")
async def dry_run(request: Request, door: DoorOf) -> Response:
    """Tell what rules would do: `{"Study": id}`, and `Rules` by name to try these instead of those that are kept."""
    body = await json_object(request)
    given = body.get("Rules")
    if given is None:
        tried = [parse_stored(rule) for rule in await door.index.rules.all()]
    elif isinstance(given, dict):
        tried = [_given(str(name), rule) for name, rule in given.items()]
    else:
        raise BadParameter("Rules: expected an object of rules by their names")
    return json_response(await _dry_run(door, body, tried))


@router.get("/rules/{name}")
async def rule(door: DoorOf, name: str) -> Response:
    """Describe a rule."""
    return json_response(rule_object(await door.index.rules.get(name)))


@router.put("/rules/{name}")
async def put(request: Request, door: DoorOf, name: str) -> Response:
    """Add or replace a rule. Holds everywhere, for what is indexed from now on."""
    await door.index.rules.put(stored_rule(name, await json_body(request)))
    return json_response({})


@router.delete("/rules/{name}")
async def delete(door: DoorOf, name: str) -> Response:
    """Remove a rule; the jobs that it made stay."""
    await door.index.rules.delete(name)
    return json_response({})


@router.post("/rules/{name}/enable")
async def enable(door: DoorOf, name: str) -> Response:
    """Let a rule be tried."""
    await door.index.rules.enable(name, True)
    return json_response({})


@router.post("/rules/{name}/disable")
async def disable(door: DoorOf, name: str) -> Response:
    """Let a rule not be tried any more."""
    await door.index.rules.enable(name, False)
    return json_response({})


@router.post("/rules/{name}/dry-run")
async def dry_run_one(request: Request, door: DoorOf, name: str) -> Response:
    """Tell what a rule would do: `{"Study": id}`."""
    found = parse_stored(await door.index.rules.get(name))
    return json_response(await _dry_run(door, await json_object(request), [found]))


@router.get("/rules/{name}/failed")
async def failed(door: DoorOf, name: str) -> Response:
    """List the jobs of a rule that have failed for good, the newest first; also of one that was deleted."""
    found = await failed_jobs(door, lambda job: job.params.get("rule") == name)
    return json_response([failure_object(job) for job in found])


@router.post("/rules/{name}/replay")
async def replay(door: DoorOf, name: str) -> Response:
    """Submit the jobs of a rule again that have failed for good."""
    return json_response(await replay_all(door, lambda job: job.params.get("rule") == name))


def _given(name: str, body: object) -> Rule:
    try:
        return rule_from(name, body)
    except BadRule as error:
        raise BadParameter(f"Rules: {name[:80]}: {error}") from None


async def _dry_run(door: Door, body: Mapping[str, Any], tried: Sequence[Rule]) -> dict[str, Any]:
    study = body.get("Study")
    if not isinstance(study, str):
        raise BadParameter("Study: expected the identifier of a study")
    study = resource_id(study)
    await door.index.get(Level.STUDY, study)
    try:
        packs = await evaluate_study(door.index.locate(Scope(public_id=study)), tried, door.objects, show=MAX_SHOWN)
    except ObjectNotFound as error:
        raise Unreadable(f"the study can not be read: {error}") from None
    return {
        "Study": study,
        "Instances": sum(len(pack.instances) for pack in packs),
        "Rules": [_told(rule, packs, await dispatches(rule, packs, door.index.remotes, study=study)) for rule in tried],
    }


def _told(rule: Rule, packs: Sequence[EvaluatedPack], sent: Sequence[Dispatch]) -> dict[str, Any]:
    tried = [pack.results[rule.name] for pack in packs]
    problem = next((each.problem for each in tried if each.problem), "")
    return {
        "Rule": rule.name,
        "When": rule.when.value,
        "Enabled": rule.enabled,
        "Matches": sum(len(each.matched) for each in tried),
        "Sends": [] if problem else [_sent(shipment) for shipment in sent],
        "Instances": [
            {"ID": public_id, "Matches": verdict.holds, "Because": verdict.because}
            for each in tried
            for public_id, verdict in each.shown
        ],
        **({"Problem": problem} if problem else {}),
    }


def _sent(shipment: Dispatch) -> dict[str, Any]:
    return {
        "Destination": str(shipment.destination),
        "Instances": shipment.instances,
        "Resources": list(shipment.resources[:_SHOWN_RESOURCES]),
        **({"Skipped": shipment.skipped} if shipment.skipped else {}),
    }
