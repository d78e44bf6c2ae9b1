"""C-ECHO and C-FIND in modalities (pynetdicom's here), and questions to peers."""

import asyncio
import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRoot
from pynetdicom.sop_class import Verification

from osteon.contracts.remote import PeerSystemRequest, RemoteEchoRequest, RemoteFindRequest, Target
from osteon.index.sql import SqlIndex
from osteon.remotes.port import Peer
from osteon.remotes.queries import RemoteQuery
from osteon_dispatcher.remote_requests import echo, find, peer_system
from support.bus.messages import failure_of
from support.dimse.pynetdicom_acceptor import accepting
from support.index.stored_packs import sqlite_url

NAMES = ("Ärger^Änne", "Doe^Jane", "Żółć^Ewa")


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqlIndex]:
    opened = SqlIndex(sqlite_url(tmp_path / "index.db"))
    await opened.start()
    query = RemoteQuery(id="q", modality="m", level="Study", created=datetime.now(UTC))
    await opened.queries.add(query, keep=9, older_than=datetime(1970, 1, 1, tzinfo=UTC))
    yield opened
    await opened.close()


@contextmanager
def modality(*handlers: Any, contexts: tuple[Any, ...] = (Verification, StudyRoot), **more: Any) -> Iterator[Target]:
    """Run a peer; yields how to reach it."""
    ae = AE("PEER")
    ae.require_called_aet = True
    for context in contexts:
        ae.add_supported_context(context, more.get("syntaxes"))
    with accepting(ae, *handlers) as port:
        yield Target(aet="PEER", host="127.0.0.1", port=port, calling_aet="ME", timeout=5)


def searching(target: Target, limit: int = 100, **more: Any) -> RemoteFindRequest:
    keys = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Ä*"}]}}
    defaults = {"sop_class_uid": StudyRoot, "identifier": orjson.dumps(keys), "query_id": "q", "seconds": 20.0}
    return RemoteFindRequest(correlation_id="c", target=target, limit=limit, **{**defaults, **more})


def echoing(target: Target, *, find: bool = False) -> RemoteEchoRequest:
    return RemoteEchoRequest(correlation_id="c", target=target, find=find)


class Finder:
    """Answers C-FIND with `count` matches, or `status`; remembers what came."""

    def __init__(self, count: int = 3, status: int = 0x0000) -> None:
        self.count, self.status = count, status
        self.asked: list[Dataset] = []
        self.callers: list[str] = []
        self.cancelled = False

    def __call__(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append(event.identifier)
        self.callers.append(event.assoc.requestor.ae_title)
        for number in range(self.count):
            if event.is_cancelled:
                self.cancelled = True
                yield 0xFE00, None
                return
            match = Dataset()
            match.SpecificCharacterSet = "ISO_IR 192"
            match.PatientName, match.StudyInstanceUID = NAMES[number % 3], f"1.2.{number}"
            yield 0xFF00, match
        yield self.status, None


async def test_an_echo_that_is_answered_has_no_problem():
    with modality() as target:
        answer = await echo(echoing(target, find=True))
    assert answer.correlation_id == "c"


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"aet": "OTHER"}, "called AE title not recognized"), ({"tls": True}, "TLS"), ({"port": 1}, "")],
)
async def test_an_echo_that_fails_says_why(change, problem):
    with modality() as target:
        failure = await failure_of(echo(echoing(target.model_copy(update=change))))
    assert str(failure) and problem in str(failure)


async def test_an_echo_that_is_refused_has_its_status():
    with modality((evt.EVT_C_ECHO, lambda _: 0x0124)) as target:
        failure = await failure_of(echo(echoing(target)))
    assert "0x0124" in str(failure)


async def test_whether_c_find_is_taken_is_seen_when_it_is_asked_for():
    with modality(contexts=(Verification,)) as target:
        assert (await echo(echoing(target))).correlation_id == "c"
        assert "C-FIND" in str(await failure_of(echo(echoing(target, find=True))))


@pytest.mark.parametrize("syntaxes", [["1.2.840.10008.1.2"], ["1.2.840.10008.1.2.1"]])
async def test_matches_become_answers_whatever_the_transfer_syntax(index, syntaxes):
    finder = Finder()
    with modality((evt.EVT_C_FIND, finder), syntaxes=syntaxes) as target:
        answer = await find(searching(target), index.queries)
    assert (answer.answers, answer.truncated) == (3, False)
    headers = [json.loads(header) for header in await index.queries.answers("q")]
    assert tuple(header["00100010"]["Value"][0]["Alphabetic"] for header in headers) == NAMES
    assert (await index.queries.get("q")).answers == 3
    (asked,) = finder.asked
    assert (asked.QueryRetrieveLevel, str(asked.PatientName), asked.SpecificCharacterSet) == (
        "STUDY", "Ä*", "ISO_IR 100",
    )  # fmt: skip
    assert finder.callers == ["ME"]


async def test_more_matches_than_a_batch_come_all_in_their_order(index):
    with modality((evt.EVT_C_FIND, Finder(450))) as target:
        answer = await find(searching(target, limit=450), index.queries)
    assert (answer.answers, answer.truncated) == (450, False)
    headers = await index.queries.answers("q")
    assert [json.loads(header)["0020000D"]["Value"][0] for header in headers] == [f"1.2.{n}" for n in range(450)]


@pytest.mark.slow
async def test_a_search_with_too_many_matches_is_cut_and_cancelled(index):
    finder = Finder(1_000_000)
    with modality((evt.EVT_C_FIND, finder)) as target:
        answer = await find(searching(target, limit=10, seconds=100), index.queries)
    assert (answer.answers, answer.truncated) == (10, True)
    assert finder.cancelled
    assert (await index.queries.get("q")).answers == 10


@pytest.mark.parametrize("status", [0xA700, 0xC001])
async def test_a_search_that_fails_says_its_status(index, status):
    with modality((evt.EVT_C_FIND, Finder(0, status))) as target:
        failure = await failure_of(find(searching(target), index.queries))
    assert f"0x{status:04X}" in str(failure)


@pytest.mark.slow
async def test_a_search_that_is_not_taken_or_takes_too_long_says_so(index):
    with modality(contexts=(Verification,)) as target:
        assert "C-FIND" in str(await failure_of(find(searching(target), index.queries)))
    gate = threading.Event()

    def slow(_: evt.Event) -> Iterator[tuple[int, None]]:
        gate.wait(20)
        yield 0x0000, None

    with modality((evt.EVT_C_FIND, slow)) as target:
        failure = await failure_of(find(searching(target, seconds=0.3), index.queries))
        gate.set()
    assert "OSTEON_REMOTE_FIND_SECONDS" in str(failure)


async def test_the_answers_of_a_query_that_is_gone_are_a_problem(index):
    await index.queries.delete("q")
    with modality((evt.EVT_C_FIND, Finder())) as target:
        assert "q" in str(await failure_of(find(searching(target), index.queries)))


class PeerSystemSite(http.server.BaseHTTPRequestHandler):
    """A peer's `/system`, and a redirection that must not be followed."""

    def do_GET(self) -> None:
        seen: list[Any] = self.server.seen  # type: ignore[attr-defined]
        seen.append((self.path, self.headers.get("Authorization"), self.headers.get("X-Key")))
        self.send_response(302 if self.path.startswith("/moved") else 200)
        self.send_header("Location", "/system")
        self.end_headers()
        self.wfile.write(b'{"Name": "other"}' if self.path == "/system" else b"no JSON")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), PeerSystemSite)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_peer_tells_of_itself_with_its_credentials(index, site):
    url = f"http://127.0.0.1:{site.server_port}"
    secrets = {"username": "user", "password": "secret", "headers": (("X-Key", "k"),)}
    await index.remotes.put_peer(Peer(name="p", url=url + "/", **secrets))
    await index.remotes.put_peer(Peer(name="moved", url=url + "/moved", **secrets))
    await index.remotes.put_peer(Peer(name="page", url=url + "/page"))
    told = await peer_system(PeerSystemRequest(correlation_id="c", peer="p"), index.remotes)
    assert json.loads(told.system) == {"Name": "other"}
    assert site.seen == [("/system", "Basic dXNlcjpzZWNyZXQ=", "k")]
    for name in ("moved", "page", "unknown"):
        failure = await failure_of(peer_system(PeerSystemRequest(correlation_id="c", peer=name), index.remotes))
        assert str(failure) and "secret" not in str(failure)
    assert len(site.seen) == 3


async def answer_of_peer(index: SqlIndex, url: str, **more: Any) -> str:
    await index.remotes.put_peer(Peer(name="p", url=url, **more))
    asking = peer_system(PeerSystemRequest(correlation_id="c", peer="p"), index.remotes)
    return str(await failure_of(asyncio.wait_for(asking, 20)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"220 mail.example.org ESMTP\r\n\r\n", "did not answer in HTTP; are the port and http or https right?"),
        (b"", "closed the connection without an answer in HTTP"),
        (None, "gave no answer within 1 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<ht>", "its /system is not JSON; is the URL that of an Orthanc"),
    ],
)
async def test_what_is_wrong_with_a_peer_is_said_in_words(index, answer, words):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        problem = await answer_of_peer(index, f"http://127.0.0.1:{port}/", timeout=1)
        assert words in problem
        if words.startswith("did not"):
            assert "the peer does not speak TLS" in await answer_of_peer(index, f"https://127.0.0.1:{port}/", timeout=1)


async def test_a_peer_that_is_not_there_is_a_problem(index):
    assert await answer_of_peer(index, "http://127.0.0.1:1/") == "nothing listens at 127.0.0.1:1"
    assert await answer_of_peer(index, "http://no.such.host.invalid/") in (
        "the host name 'no.such.host.invalid' is not known",
        "the host name 'no.such.host.invalid' cannot be looked up now",
    )
