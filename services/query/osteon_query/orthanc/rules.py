"""Routing rules: list, change, try without sending. Beyond Orthanc's API."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope
from osteon.dicom.models import Level
from osteon.objects.port import ObjectNotFound
from osteon.rules.errors import BadRule
from osteon.rules.evaluation import MAX_SHOWN, Dispatch, EvaluatedPack, dispatches, evaluate_study
from osteon.rules.parsing import parse_stored, rule_from, rule_object, stored_rule
from osteon.rules.port import Rule
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import json_body, json_object
from osteon_query.http.errors import BadParameter, StoredDataUnreadable
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.orthanc.destinations import failed_jobs, failure_object, replay_all
from osteon_query.orthanc.resource_lists import asks_to_expand

router = APIRouter(tags=["Routing"])

_SHOWN_RESOURCES: Final = 100


@router.get("/rules")
async def rules(request: Request, state: AppStateDep) -> Response:
    """List the names of rules, or all of them by name with `expand`."""
    found = await state.rules.all()
    if asks_to_expand(request):
        return json_response({rule.name: rule_object(rule) for rule in found})
    return json_response([rule.name for rule in found])


@router.post("/rules/dry-run")
async def dry_run(request: Request, state: AppStateDep) -> Response:
    """Evaluate rules for a study without sending: `{"Study": id}`; `Rules` by name replace the stored ones."""
    body = await json_object(request)
    given = body.get("Rules")
    if given is None:
        tried = [parse_stored(rule) for rule in await state.rules.all()]
    elif isinstance(given, dict):
        tried = [_parse_rule(str(name), rule) for name, rule in given.items()]
    else:
        raise BadParameter("Rules: expected an object of rules by their names")
    return json_response(await _dry_run(state, body, tried))


@router.get("/rules/{name}")
async def rule(state: AppStateDep, name: str) -> Response:
    """Describe a rule as it was put."""
    return json_response(rule_object(await state.rules.get(name)))


@router.put("/rules/{name}")
async def put(request: Request, state: AppStateDep, name: str) -> Response:
    """Add or replace a rule. Holds everywhere, for what is indexed from now on."""
    await state.rules.put(stored_rule(name, await json_body(request)))
    return json_response({})


@router.delete("/rules/{name}")
async def delete(state: AppStateDep, name: str) -> Response:
    """Remove a rule; the jobs that it made stay."""
    await state.rules.delete(name)
    return json_response({})


@router.post("/rules/{name}/enable")
async def enable(state: AppStateDep, name: str) -> Response:
    """Enable a rule for what is indexed from now on."""
    await state.rules.enable(name, True)
    return json_response({})


@router.post("/rules/{name}/disable")
async def disable(state: AppStateDep, name: str) -> Response:
    """Disable a rule; the jobs that it made continue."""
    await state.rules.enable(name, False)
    return json_response({})


@router.post("/rules/{name}/dry-run")
async def dry_run_one(request: Request, state: AppStateDep, name: str) -> Response:
    """Evaluate one rule for a study without sending: `{"Study": id}`."""
    found = parse_stored(await state.rules.get(name))
    return json_response(await _dry_run(state, await json_object(request), [found]))


@router.get("/rules/{name}/failed")
async def failed(state: AppStateDep, name: str) -> Response:
    """List the jobs of a rule that have failed for good, the newest first; also of one that was deleted."""
    found = await failed_jobs(state, lambda job: job.params.get("rule") == name)
    return json_response([failure_object(job) for job in found])


@router.post("/rules/{name}/replay")
async def replay(state: AppStateDep, name: str) -> Response:
    """Submit the jobs of a rule again that have failed for good."""
    return json_response(await replay_all(state, lambda job: job.params.get("rule") == name))


def _parse_rule(name: str, body: object) -> Rule:
    try:
        return rule_from(name, body)
    except BadRule as error:
        raise BadParameter(f"Rules: {name[:80]}: {error}") from None


async def _dry_run(state: AppState, body: Mapping[str, Any], tried: Sequence[Rule]) -> dict[str, Any]:
    study = body.get("Study")
    if not isinstance(study, str):
        raise BadParameter("Study: expected the identifier of a study")
    study = resource_id(study)
    await state.index.get(Level.STUDY, study)
    try:
        packs = await evaluate_study(
            state.index.locate(InstanceScope(public_id=study)), tried, state.objects, show=MAX_SHOWN
        )
    except ObjectNotFound as error:
        raise StoredDataUnreadable(f"the study cannot be read: {error}") from None
    return {
        "Study": study,
        "Instances": sum(len(pack.instances) for pack in packs),
        "Rules": [
            _outcome_json(rule, packs, await dispatches(rule, packs, state.remotes, study=study)) for rule in tried
        ],
    }


def _outcome_json(rule: Rule, packs: Sequence[EvaluatedPack], sent: Sequence[Dispatch]) -> dict[str, Any]:
    tried = [pack.results[rule.name] for pack in packs]
    problem = next((each.problem for each in tried if each.problem), "")
    return {
        "Rule": rule.name,
        "When": rule.when.value,
        "Enabled": rule.enabled,
        "Matches": sum(len(each.matched) for each in tried),
        "Sends": [] if problem else [_shipment_json(shipment) for shipment in sent],
        "Instances": [
            {"ID": public_id, "Matches": verdict.holds, "Because": verdict.because}
            for each in tried
            for public_id, verdict in each.shown
        ],
        **({"Problem": problem} if problem else {}),
    }


def _shipment_json(shipment: Dispatch) -> dict[str, Any]:
    return {
        "Destination": str(shipment.destination),
        "Instances": shipment.instances,
        "Resources": list(shipment.resources[:_SHOWN_RESOURCES]),
        **({"Skipped": shipment.skipped} if shipment.skipped else {}),
    }
