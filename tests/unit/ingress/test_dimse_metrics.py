"""Operations are measured by their final status, also those that end before they have one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from prometheus_client import REGISTRY

from osteon.dimse.handler import FindResponse, Outcome
from osteon.dimse.status import Status
from osteon_ingress.dimse_metrics import measure_outcome, measure_responses


def measured(operation: str, status: str) -> float:
    labels = {"operation": operation, "status": status}
    return REGISTRY.get_sample_value("osteon_dimse_operation_duration_seconds_count", labels) or 0.0


async def found(final: Status) -> AsyncGenerator[FindResponse]:
    yield FindResponse(Status.PENDING, b"")
    yield FindResponse(final)


async def test_responses_pass_and_are_measured_by_the_last_one() -> None:
    given = [each.status async for each in measure_responses("test-find", found(Status.OUT_OF_RESOURCES))]
    assert given == [Status.PENDING, Status.OUT_OF_RESOURCES]
    assert measured("test-find", "0xA700") == 1


async def test_an_operation_that_is_abandoned_is_cancelled_and_its_source_closed() -> None:
    source = found(Status.SUCCESS)
    async with aclosing(measure_responses("test-cancel", source)) as passed:
        await anext(passed)
    assert measured("test-cancel", "0xFE00") == 1
    assert [each async for each in source] == []


async def test_an_operation_of_one_response_is_measured_by_its_outcome() -> None:
    async def refused() -> Outcome:
        return Outcome(Status.NOT_AUTHORIZED, "no")

    assert (await measure_outcome("test-echo", refused())).comment == "no"
    assert measured("test-echo", "0x0124") == 1
