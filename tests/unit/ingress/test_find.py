from typing import Any

import pytest

from osteon.bus.port import BusUnavailable, RequestFailed, RequestTimeout
from osteon.contracts.base import Message
from osteon.contracts.failure import FailureReply
from osteon.contracts.find import FindCancelled, FindPageReply, FindPageRequest
from osteon.contracts.topology import FIND, RpcQueue
from osteon.dimse.handler import AssociationInfo, FindRequest, PresentationContext
from osteon.dimse.status import Status
from osteon.errors import FailureKind
from osteon_ingress.find import PAGE_TIMEOUT, build_find_request, find

ASSOCIATION = AssociationInfo("a1", "VIEWER", "OSTEON", "192.0.2.9", 5000)
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"


def request(extended: bytes = b"") -> FindRequest:
    context = PresentationContext(3, STUDY_ROOT, "1.2.840.10008.1.2", extended)
    return FindRequest(1, context, b"identifier")


class FindBus:
    """Answers requests from a list of pages or errors."""

    on_publish: Exception | None = None

    def __init__(self, *answers: FindPageReply | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[FindPageRequest] = []
        self.published: list[Message] = []

    async def request(
        self, queue: RpcQueue[FindPageRequest, FindPageReply], message: FindPageRequest, *, timeout: float
    ) -> FindPageReply:
        assert queue is FIND
        assert isinstance(message, FindPageRequest)
        self.asked.append(message)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def publish(self, message: Message) -> None:
        self.published.append(message)
        if isinstance(self.on_publish, Exception):
            raise self.on_publish


def page(*identifiers: bytes, **fields: Any) -> FindPageReply:
    return FindPageReply(correlation_id="a1", identifiers=list(identifiers), **fields)


async def test_each_match_is_pending_and_the_last_response_has_the_status() -> None:
    bus = FindBus(page(b"one", b"two", keys_ignored=True))
    responses = [response async for response in find(ASSOCIATION, request(), bus)]  # type: ignore[arg-type]
    assert [question.identifier for question in bus.asked] == [b"identifier"]
    assert [(r.status, r.identifier) for r in responses] == [
        (Status.PENDING_OPTIONAL_KEYS_UNSUPPORTED, b"one"),
        (Status.PENDING_OPTIONAL_KEYS_UNSUPPORTED, b"two"),
        (Status.SUCCESS, None),
    ]


async def test_pages_are_requested_with_the_cursor_of_the_page_before() -> None:
    bus = FindBus(page(b"one", cursor="x"), page(b"two", cursor="y"), page(b"three"))
    responses = [response async for response in find(ASSOCIATION, request(), bus)]  # type: ignore[arg-type]
    assert [r.identifier for r in responses] == [b"one", b"two", b"three", None]
    assert [question.cursor for question in bus.asked] == [None, "x", "y"]


async def test_a_closed_search_asks_for_no_further_page() -> None:
    bus = FindBus(page(b"one", cursor="x"), page(b"two"))
    responses = find(ASSOCIATION, request(), bus)  # type: ignore[arg-type]
    assert (await anext(responses)).identifier == b"one"
    await responses.aclose()  # type: ignore[attr-defined]
    assert len(bus.asked) == 1
    assert bus.published == [], "no page is being searched"


@pytest.mark.parametrize("on_publish", [None, BusUnavailable("no broker")])
async def test_a_page_that_comes_too_late_is_cancelled_in_query(on_publish: Exception | None) -> None:
    bus = FindBus(page(b"one", cursor="x"), RequestTimeout("no answer"))
    bus.on_publish = on_publish
    responses = [response async for response in find(ASSOCIATION, request(), bus)]  # type: ignore[arg-type]
    assert responses[-1].status == Status.OUT_OF_RESOURCES
    (first, second) = bus.asked
    assert first.request_id == second.request_id != ""
    assert first.timeout_seconds == PAGE_TIMEOUT
    assert bus.published == [FindCancelled(correlation_id="a1", request_id=first.request_id)]


@pytest.mark.parametrize("error", [RequestTimeout("no answer"), BusUnavailable("no broker")])
async def test_a_search_that_is_not_answered_is_out_of_resources_and_says_so(error: Exception) -> None:
    bus = FindBus(page(b"one", cursor="x"), error)
    responses = [response async for response in find(ASSOCIATION, request(), bus)]  # type: ignore[arg-type]
    assert [r.status for r in responses] == [Status.PENDING, Status.OUT_OF_RESOURCES]
    assert "not available" in responses[-1].comment


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.INVALID, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS),
        (FailureKind.UNREADABLE, Status.UNABLE_TO_PROCESS),
        (FailureKind.UNAVAILABLE, Status.OUT_OF_RESOURCES),
        (FailureKind.FAILED, Status.UNABLE_TO_PROCESS),
    ],
)
async def test_the_kind_of_a_failed_search_decides_the_status_and_its_text_is_the_comment(
    kind: FailureKind, status: Status
) -> None:
    bus = FindBus(RequestFailed(FailureReply(correlation_id="a1", kind=kind, text="(0008,0052) is missing")))
    (response,) = [response async for response in find(ASSOCIATION, request(), bus)]  # type: ignore[arg-type]
    assert (response.status, response.comment) == (status, "(0008,0052) is missing")


@pytest.mark.parametrize(
    ("extended", "expected"),
    [
        (b"", (False, False, False)),
        (b"\1", (False, False, False)),
        (b"\0\1\1", (True, True, False)),
        (b"\1\1\1\1\1", (True, True, True)),
    ],
)
def test_extended_negotiation_decides_how_the_search_matches(extended: bytes, expected: tuple[bool, ...]) -> None:
    asked = build_find_request(ASSOCIATION, request(extended))
    assert (asked.combined_datetime, asked.fuzzy, asked.timezone) == expected
    assert (asked.correlation_id, asked.called_aet, asked.sop_class_uid) == ("a1", "OSTEON", STUDY_ROOT)
