"""Orthanc's REST of modalities, peers and queries over the embedded ports; dispatchers are stand-ins on the bus."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import structlog

from osteon.contracts.remote import (
    ListModalitiesRequest,
    PeerSystemReply,
    PeerSystemRequest,
    RemoteEchoReply,
    RemoteEchoRequest,
    RemoteFindReply,
    RemoteFindRequest,
)
from osteon.contracts.topology import ECHO, PEER, REMOTE_FIND
from osteon.errors import OsteonError
from osteon.jobs.port import JobState
from osteon.remotes.port import Peer
from osteon_query.remotes.modality_list_rpc import list_modalities
from support.dicom.datasets import ct_slice
from support.jobs.in_memory import FakeJobs
from support.query.application import RunningQuery, short_uid

SINK = ["SINK", "127.0.0.1", 11299]
MATCH = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Ärger^Änne"}]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
}


class FakeDispatcher:
    """Answers like `dispatcher`, and remembers what it was asked. `problem` lets everything fail."""

    def __init__(self, archive: RunningQuery) -> None:
        self.echoes: list[RemoteEchoRequest] = []
        self.finds: list[RemoteFindRequest] = []
        self.matches: list[dict[str, Any]] = [MATCH, {**MATCH, "0020000D": {"vr": "UI", "Value": ["1.2.4"]}}]
        self.problem = ""
        self._archive = archive

    async def start(self) -> "FakeDispatcher":
        """Serve."""
        await self._archive.bus.serve(ECHO, self._echo)
        await self._archive.bus.serve(REMOTE_FIND, self._find)
        await self._archive.bus.serve(PEER, self._peer)
        return self

    async def _echo(self, message: RemoteEchoRequest) -> RemoteEchoReply:
        self.echoes.append(message)
        self._fail()
        return RemoteEchoReply(correlation_id=message.correlation_id)

    async def _find(self, message: RemoteFindRequest) -> RemoteFindReply:
        self.finds.append(message)
        self._fail()
        await self._archive.index.queries.add_answers(message.query_id, [orjson.dumps(one) for one in self.matches])
        return RemoteFindReply(correlation_id=message.correlation_id, answers=len(self.matches))

    async def _peer(self, message: PeerSystemRequest) -> PeerSystemReply:
        self._fail()
        return PeerSystemReply(correlation_id=message.correlation_id, system='{"Name": "other"}')

    def _fail(self) -> None:
        if self.problem:
            raise OsteonError(self.problem)


@pytest.fixture
async def dispatcher(archive: RunningQuery) -> FakeDispatcher:
    """The stand-in, and a modality `sink`."""
    await put(archive, "/modalities/sink", SINK)
    return await FakeDispatcher(archive).start()


@pytest.fixture
def jobs(archive: RunningQuery) -> FakeJobs:
    """Jobs that nobody runs."""
    fake = FakeJobs()
    archive.change(jobs=fake)
    return fake


@pytest.fixture
async def worker(jobs: FakeJobs) -> AsyncIterator[list[dict[str, Any]]]:
    """Ends every job at once, well unless its local AE title is `fails`; the list has what they were told."""
    told: list[dict[str, Any]] = []

    async def work() -> None:
        while True:
            for job in [job for job in jobs.all.values() if job.state is JobState.PENDING]:
                told.append({"type": job.type, "priority": job.priority, **job.params})
                failed = job.params.get("local_aet") == "fails"
                state = JobState.FAILURE if failed else JobState.SUCCESS
                jobs.put(replace(job, state=state, error="refused" if failed else ""))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(work())
    yield told
    task.cancel()


async def put(archive: RunningQuery, path: str, body: Any) -> None:
    """PUT JSON; fails the test on an HTTP error."""
    response = await archive.http.put(path, json=body)
    assert (response.status_code, response.json()) == (200, {}), response.text


async def post(archive: RunningQuery, path: str, **arguments: Any) -> Any:
    """POST; fails the test on an HTTP error."""
    response = await archive.http.post(path, **arguments)
    assert response.status_code == 200, response.text
    return response.json()


async def study(archive: RunningQuery) -> str:
    """Store a study; return its identifier."""
    await archive.stow(ct_slice(study=short_uid()))
    (found,) = await archive.json("/studies")
    return str(found)


def asked(find: RemoteFindRequest) -> dict[str, Any]:
    """Return the tags of an Identifier with their first values."""
    return {tag: next(iter(e.get("Value", [""]))) for tag, e in orjson.loads(find.identifier).items()}


async def test_a_modality_is_put_listed_shown_and_deleted(archive: RunningQuery) -> None:
    await put(archive, "/modalities/sink", SINK)
    assert await archive.json("/modalities") == ["sink"]
    shown = (await archive.json("/modalities?expand"))["sink"]
    assert shown == await archive.json("/modalities/sink/configuration")
    assert (shown["AET"], shown["Host"], shown["Port"], shown["Manufacturer"]) == (*SINK, "Generic")
    assert all(shown[name] is True for name in shown if name.startswith("Allow"))
    assert "echo" in await archive.json("/modalities/sink")
    assert (await archive.http.delete("/modalities/sink")).status_code == 200
    assert await archive.json("/modalities?expand=true") == {}


async def test_what_is_shown_of_a_modality_can_be_put_again(archive: RunningQuery) -> None:
    changed = {"AllowFind": False, "UseDicomTls": True, "LocalAet": "HERE", "Timeout": 9, "RetrieveMethod": "C-GET"}
    await put(archive, "/modalities/a", {"AET": "A", "Host": "h", "Port": "104", "Manufacturer": "GE", **changed})
    shown = await archive.json("/modalities/a/configuration")
    assert {**shown, **changed} == shown
    await put(archive, "/modalities/a", shown)
    assert await archive.json("/modalities/a/configuration") == shown


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (["SINK", "h"], '["AET", "host", port]'),
        (["SINK", "h", 0], "Port"),
        (["SINK", "h", True], "Port"),
        (["A" * 17, "h", 104], "AET"),
        (["SINK", "h", 104, "Acme"], "Manufacturer"),
        ({"Host": "h", "Port": 104}, "AET"),
        ({"AET": "A", "Host": "h", "Port": 104, "AllowEcho": 1}, "AllowEcho"),
        ({"AET": "A", "Host": "h", "Port": 104, "RetrieveMethod": "C-FETCH"}, "RetrieveMethod"),
        ("SINK", "an object"),
        (["SINK", "a b", 104], "Host"),
        (["SINK", "http://h", 104], "Host"),
        (["SINK", "h:104", 104], "Host"),
        (["SINK", "h", 65536], "Port"),
    ],
)  # fmt: skip
async def test_a_modality_that_is_wrong_is_refused_by_the_name_of_the_field(
    archive: RunningQuery, body: Any, named: str
) -> None:
    response = await archive.http.put("/modalities/sink", json=body)
    assert response.status_code == 400
    assert named in response.json()["Details"]
    assert await archive.json("/modalities") == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/modalities/other", {"AET": "A", "Host": "h", "Port": 104, "AlowEcho": True, "Pkcs": None}),
        ("/peers/other", {"Url": "http://h/", "AlowEcho": True, "Pkcs": None}),
    ],
)
async def test_fields_that_are_not_known_are_ignored_with_a_warning(
    archive: RunningQuery, path: str, body: dict[str, Any]
) -> None:
    response = await archive.http.put(path, json=body)
    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["Warning"].endswith('"These fields are not known and were ignored: AlowEcho, Pkcs"')
    assert "AlowEcho" not in await archive.json(f"{path}/configuration")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/configuration"), ("DELETE", ""), ("POST", "/echo"), ("POST", "/query"), ("POST", "/store"),
     ("POST", "/move"), ("POST", "/get"), ("POST", "/find-worklist")],
)  # fmt: skip
async def test_a_modality_that_is_not_known_is_not_found(archive: RunningQuery, method: str, path: str) -> None:
    response = await archive.http.request(method, f"/modalities/nobody{path}")
    assert (response.status_code, response.json()["OrthancStatus"]) == (404, 7)
    assert "nobody" in response.json()["Details"]


async def test_an_echo_asks_the_modality_and_tells_how_it_went(
    archive: RunningQuery, dispatcher: FakeDispatcher
) -> None:
    assert await post(archive, "/modalities/sink/echo") == {}
    await post(archive, "/modalities/sink/echo", json={"Timeout": 7, "CheckFind": True})
    first, second = dispatcher.echoes
    assert (first.target.aet, first.target.host, first.target.port, first.target.calling_aet) == (*SINK, "OSTEON")
    assert (first.find, first.target.timeout, second.find, second.target.timeout) == (False, 0, True, 7)
    dispatcher.problem = "nobody listens"
    response = await archive.http.post("/modalities/sink/echo", content="")
    assert (response.status_code, response.json()["OrthancStatus"]) == (500, 9)
    assert "nobody listens" in response.json()["Details"]


async def test_somebody_who_is_not_known_can_be_asked_for_an_echo(
    archive: RunningQuery, dispatcher: FakeDispatcher
) -> None:
    body = {"AET": "A", "Host": "h", "Port": 104, "LocalAet": "ME", "Timeout": 3, "CheckFind": False}
    assert await post(archive, "/tools/dicom-echo", json=body) == {}
    assert dispatcher.echoes[0].target.calling_aet == "ME"
    assert await archive.json("/modalities") == ["sink"]


async def test_a_query_keeps_its_answers(archive: RunningQuery, dispatcher: FakeDispatcher) -> None:
    body = {"Level": "Study", "Query": {"PatientName": "Ä*", "0008,0061": "CT"}, "LocalAet": "ME", "Timeout": 3}
    made = await post(archive, "/modalities/sink/query", json=body)
    path = made["Path"]
    assert path == f"/queries/{made['ID']}"
    assert await archive.json("/queries") == [made["ID"]]
    assert await archive.json(f"{path}/answers") == ["0", "1"]
    simplified = await archive.json(f"{path}/answers/0/content?simplify")
    assert (simplified["PatientName"], simplified["StudyInstanceUID"]) == ("Ärger^Änne", "1.2.3")
    expanded = await archive.json(f"{path}/answers?expand&simplify")
    assert [answer["StudyInstanceUID"] for answer in expanded] == ["1.2.3", "1.2.4"]
    full = await archive.json(f"{path}/answers/1/content")
    assert full["0020,000d"] == {"Name": "StudyInstanceUID", "Type": "String", "Value": "1.2.4"}
    assert (await archive.http.get(f"{path}/level")).text == "Study"
    assert (await archive.http.get(f"{path}/modality")).text == "sink"
    assert (await archive.json(f"{path}/query?simplify")) == {"ModalitiesInStudy": "CT", "PatientName": "Ä*"}
    assert "retrieve" in await archive.json(path)
    assert "query-series" in await archive.json(f"{path}/answers/0")
    assert (dispatcher.finds[0].target.calling_aet, dispatcher.finds[0].target.timeout) == ("ME", 3)


async def test_a_query_asks_for_what_retrieving_needs(archive: RunningQuery, dispatcher: FakeDispatcher) -> None:
    for level in ("Studies", "Series", "instance", "Patient"):
        await post(archive, "/modalities/sink/query", json={"Level": level, "Query": {"Modality": "CT"}})
    studies, series, instances, patients = map(asked, dispatcher.finds)
    assert studies == {"00080050": "", "00080052": "STUDY", "00100020": "", "0020000D": ""}
    assert series == {**studies, "00080052": "SERIES", "00080060": "CT", "0020000E": ""}
    assert instances == {**series, "00080052": "IMAGE", "00080018": ""}
    assert patients == {"00080052": "PATIENT", "00100020": ""}
    assert [find.sop_class_uid[-3:] for find in dispatcher.finds] == ["2.1", "2.1", "2.1", "1.1"]
    body = {"Level": "Study", "Query": {"Modality": "CT"}, "Normalize": False}
    await post(archive, "/modalities/sink/query", json=body)
    assert asked(dispatcher.finds[-1])["00080060"] == "CT"


@pytest.mark.parametrize(
    ("manufacturer", "date", "name", "study_uid"),
    [
        ("Generic", "*", "*", ""),
        ("GenericNoWildcardInDates", "", "*", ""),
        ("GenericNoUniversalWildcard", "", "", ""),
        ("Vitrea", "", "*", ""),
        ("GE", "*", "*", "*"),
    ],
)
async def test_makes_get_wildcards_as_they_want_them(
    archive: RunningQuery, dispatcher: FakeDispatcher, manufacturer: str, date: str, name: str, study_uid: str
) -> None:
    await put(archive, "/modalities/sink", [*SINK, manufacturer])
    keys = {"StudyDate": "*", "PatientID": "*", "AccessionNumber": "A*"}
    await post(archive, "/modalities/sink/query", json={"Level": "Study", "Query": keys})
    sent = asked(dispatcher.finds[0])
    assert (sent["00080020"], sent["00100020"], sent["0020000D"], sent["00080050"]) == (date, name, study_uid, "A*")


async def test_a_query_that_fails_is_told_and_not_kept(archive: RunningQuery, dispatcher: FakeDispatcher) -> None:
    dispatcher.problem = "no answer"
    response = await archive.http.post("/modalities/sink/query", json={"Level": "Study", "Query": {}})
    assert response.status_code == 500
    assert await archive.json("/queries") == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"Level": "Visit", "Query": {}}, "Level"),
        ({"Level": "Study", "Query": {"PatientNam": ""}}, "PatientNam"),
        ({"Level": "Study", "Query": {"PatientName": 1}}, "PatientName"),
        ({"Level": "Study", "Query": []}, "Query"),
        ({"Level": "Study", "Timeout": "soon"}, "Timeout"),
    ],
)
async def test_a_query_that_is_wrong_names_the_field(
    archive: RunningQuery, dispatcher: FakeDispatcher, body: Any, named: str
) -> None:
    response = await archive.http.post("/modalities/sink/query", json=body)
    assert response.status_code == 400
    assert named in response.json()["Details"]
    assert dispatcher.finds == []


async def test_answers_that_are_not_there_are_not_found(archive: RunningQuery, dispatcher: FakeDispatcher) -> None:
    made = await post(archive, "/modalities/sink/query", json={"Level": "Study", "Query": {}})
    for path in (
        "/queries/no",
        "/queries/no/answers",
        f"{made['Path']}/answers/2/content",
        f"{made['Path']}/answers/x",
    ):
        response = await archive.http.get(path)
        assert (response.status_code, response.json()["OrthancStatus"]) == (404, 7), path
    assert (await archive.http.delete(made["Path"])).status_code == 200
    assert (await archive.http.get(f"{made['Path']}/level")).status_code == 404


async def test_what_is_below_an_answer_can_be_asked_for(archive: RunningQuery, dispatcher: FakeDispatcher) -> None:
    made = await post(archive, "/modalities/sink/query", json={"Level": "Study", "Query": {}, "LocalAet": "ME"})
    body = {"Query": {"Modality": "CT", "StudyInstanceUID": "9"}}
    below = await post(archive, f"{made['Path']}/answers/1/query-series", json=body)
    assert (await archive.http.get(f"{below['Path']}/level")).text == "Series"
    sent = asked(dispatcher.finds[1])
    assert (sent["0020000D"], sent["00080060"]) == ("1.2.4", "CT")
    assert dispatcher.finds[1].target.calling_aet == "ME"
    response = await archive.http.post(f"{below['Path']}/answers/0/query-studies", json={})
    assert response.status_code == 400


async def test_a_worklist_is_answered_at_once(archive: RunningQuery, dispatcher: FakeDispatcher) -> None:
    step = {"Modality": "CT", "ScheduledProcedureStepStartDate": ""}
    body = {"PatientID": "", "ScheduledProcedureStepSequence": [step]}
    found = await post(archive, "/modalities/sink/find-worklist", json=body)
    assert [item["PatientName"] for item in found] == ["Ärger^Änne"] * 2
    (find,) = dispatcher.finds
    assert find.sop_class_uid == "1.2.840.10008.5.1.4.31"
    assert orjson.loads(find.identifier)["00400100"]["Value"][0]["00080060"]["Value"] == ["CT"]
    short = await post(archive, "/modalities/sink/find-worklist", json={"Query": body, "Short": True})
    assert short[0]["0010,0010"] == "Ärger^Änne"
    assert await archive.json("/queries") == []


async def test_storing_waits_for_the_job_or_returns_it(
    archive: RunningQuery, jobs: FakeJobs, worker: list[dict[str, Any]]
) -> None:
    await put(archive, "/modalities/sink", SINK)
    found = await study(archive)
    bodies = [{"content": found}, {"json": found}, {"json": [found]}, {"json": {"Resources": [found], "Priority": 3}}]
    for body in bodies:
        answer = await post(archive, "/modalities/sink/store", **body)
        assert (answer["RemoteAet"], answer["LocalAet"], answer["ParentResources"]) == ("SINK", "OSTEON", [found])
    for flag in ({"Asynchronous": True}, {"Synchronous": False}):
        made = await post(archive, "/modalities/sink/store", json={"Resources": [found], "LocalAet": "ME", **flag})
        assert made["Path"] == f"/jobs/{made['ID']}"
        assert jobs.all[made["ID"]].params["local_aet"] == "ME"
    assert [order["type"] for order in worker[:4]] == ["DicomModalityStore"] * 4
    assert (worker[3]["resources"], worker[3]["modality"], worker[3]["priority"]) == ([found], "sink", 3)


async def test_a_job_that_fails_is_an_error_of_the_request(archive: RunningQuery, worker: list[dict[str, Any]]) -> None:
    await put(archive, "/modalities/sink", SINK)
    body = {"Resources": [await study(archive)], "LocalAet": "fails"}
    response = await archive.http.post("/modalities/sink/store", json=body)
    assert response.status_code == 500
    assert "refused" in response.json()["Details"]
    assert len(worker) == 1


async def test_what_is_not_in_the_archive_is_not_sent(archive: RunningQuery, jobs: FakeJobs) -> None:
    await put(archive, "/modalities/sink", SINK)
    for body in ("nonsense", "-".join(["01234567"] * 5)):
        assert (await archive.http.post("/modalities/sink/store", content=body)).status_code == 404
    for wrong in ([], {}, {"Resources": 1}):
        assert (await archive.http.post("/modalities/sink/store", json=wrong)).status_code == 400
    assert jobs.all == {}


async def test_retrieving_is_a_job(archive: RunningQuery, worker: list[dict[str, Any]]) -> None:
    await put(archive, "/modalities/sink", SINK)
    body = {"Level": "Series", "Resources": [{"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"}]}
    answer = await post(archive, "/modalities/sink/move", json={**body, "TargetAet": "THERE", "Timeout": 4})
    assert (answer["TargetAet"], answer["Query"]) == ("THERE", body["Resources"])
    await post(archive, "/modalities/sink/move", json=body)
    await post(archive, "/modalities/sink/get", json=body)
    there, here, got = worker
    assert (there["type"], there["target_aet"], there["level"], there["timeout"]) == (
        "DicomMoveScu", "THERE", "SERIES", 4,
    )  # fmt: skip
    assert (here["target_aet"], got["type"], got["resources"]) == ("OSTEON", "DicomGetScu", body["Resources"])
    assert (await archive.http.post("/modalities/sink/move", json={"Level": "Study"})).status_code == 400


async def test_answers_are_retrieved_one_or_all(
    archive: RunningQuery, dispatcher: FakeDispatcher, worker: list[dict[str, Any]]
) -> None:
    made = await post(archive, "/modalities/sink/query", json={"Level": "Study", "Query": {}})
    await post(archive, f"{made['Path']}/answers/1/retrieve", content="THERE")
    await post(archive, f"{made['Path']}/retrieve", json={"TargetAet": "THERE", "Synchronous": True})
    await post(archive, f"{made['Path']}/answers/0/retrieve", json={"RetrieveMethod": "C-GET"})
    await post(archive, f"{made['Path']}/answers/0/retrieve")
    one, both, got, here = worker
    assert (one["resources"], one["target_aet"], one["level"]) == ([{"StudyInstanceUID": "1.2.4"}], "THERE", "STUDY")
    assert [each["StudyInstanceUID"] for each in both["resources"]] == ["1.2.3", "1.2.4"]
    assert (got["type"], here["type"], here["target_aet"]) == ("DicomGetScu", "DicomMoveScu", "OSTEON")


async def test_a_peer_is_put_and_its_secrets_are_never_shown(archive: RunningQuery, dispatcher: FakeDispatcher) -> None:
    await put(archive, "/peers/other", ["http://other:8042/", "user", "secret"])
    body = {"Url": "https://full/", "Username": "u", "Password": "secret", "HttpHeaders": {"X-Key": "secret"}}
    await put(archive, "/peers/full", body)
    assert await archive.json("/peers") == ["full", "other"]
    shown = await archive.http.get("/peers?expand")
    assert "secret" not in shown.text + (await archive.http.get("/peers/full/configuration")).text
    assert shown.json()["other"]["Password"] is None
    assert await archive.json("/peers/other/system") == {"Name": "other"}
    dispatcher.problem = "HTTP 401"
    assert (await archive.http.get("/peers/other/system")).status_code == 500
    assert (await archive.http.delete("/peers/other")).status_code == 200
    assert (await archive.http.get("/peers/other/system")).status_code == 404


async def test_secrets_that_are_put_as_they_are_shown_stay_but_do_not_go_elsewhere(archive: RunningQuery) -> None:
    body = {"Url": "https://full/", "Username": "u", "Password": "secret", "HttpHeaders": {"X-Key": "k"}}
    await put(archive, "/peers/p", body)
    shown = await archive.json("/peers/p/configuration")
    await put(archive, "/peers/p", {**shown, "Timeout": 9})
    kept = await archive.index.remotes.peer("p")
    assert (kept.password, kept.headers, kept.timeout) == ("secret", (("X-Key", "k"),), 9)
    assert (await archive.http.put("/peers/p", json={**shown, "Url": "https://thief/"})).status_code == 400
    await put(archive, "/peers/p", {"Url": "https://thief/", "Username": "u", "Password": None})
    assert (await archive.index.remotes.peer("p")).password == ""


async def test_sending_to_a_peer_is_a_job(archive: RunningQuery, worker: list[dict[str, Any]]) -> None:
    await put(archive, "/peers/other", ["http://other/", "user", "secret"])
    found = await study(archive)
    answer = await post(archive, "/peers/other/store", json={"Resources": found, "Transcode": "1.2"})
    assert answer["Peer"] == ["http://other/", "user"]
    assert (worker[0]["type"], worker[0]["resources"], worker[0]["transcode"]) == ("OrthancPeerStore", [found], "1.2")
    assert "secret" not in str(worker)


async def test_doors_are_told_of_modalities_once(archive: RunningQuery) -> None:
    await put(archive, "/modalities/sink", {"AET": "SINK", "Host": "h", "Port": 1, "AllowStore": False})
    first = await list_modalities(ListModalitiesRequest(correlation_id="c"), archive.index.remotes)
    (known,) = first.modalities
    assert (known.aet, known.host, "store" in known.permissions, "echo" in known.permissions) == (
        "SINK",
        "h",
        False,
        True,
    )
    again = await list_modalities(
        ListModalitiesRequest(correlation_id="c", known_version=first.version), archive.index.remotes
    )
    assert (again.version, again.modalities) == (first.version, [])
    await put(archive, "/modalities/sink", SINK)
    changed = await list_modalities(
        ListModalitiesRequest(correlation_id="c", known_version=first.version), archive.index.remotes
    )
    assert changed.version != first.version and changed.modalities


@pytest.mark.parametrize("host", ["ct-1", "ct_1.example.org", "10.0.0.7", "::1", "fe80::1%eth0", "röntgen.example"])
async def test_a_modality_has_a_host_name_or_an_address(archive: RunningQuery, host: str) -> None:
    await put(archive, "/modalities/a", ["A", host, 104])
    assert (await archive.json("/modalities/a/configuration"))["Host"] == host


async def test_the_password_in_a_peers_url_is_taken_apart_and_never_shown(archive: RunningQuery) -> None:
    await put(archive, "/peers/p", ["http://us%40er:se%3Acret@other:8042/orthanc"])
    peer = await archive.index.remotes.peer("p")
    assert (peer.url, peer.username, peer.password) == ("http://other:8042/orthanc", "us@er", "se:cret")
    body = {"Url": "http://user:secret@other/", "Username": "else"}
    refused = await archive.http.put("/peers/p", json=body)
    assert (refused.status_code, "secret" in refused.text) == (400, False)
    assert await archive.index.remotes.peer("p") == peer


async def test_the_password_in_the_url_of_a_peer_of_an_older_release_is_not_shown(
    archive: RunningQuery, jobs: FakeJobs
) -> None:
    await archive.index.remotes.put_peer(Peer(name="old", url="http://user:secret@other/"))
    assert (await archive.json("/peers?expand"))["old"]["Url"] == "http://other/"
    await post(archive, "/peers/old/store", json={"Resources": [await study(archive)], "Asynchronous": True})
    assert "secret" not in (await archive.http.get("/jobs?expand")).text


@pytest.mark.parametrize(
    "url",
    ["ftp://u:secret@h/", "http://", "http://h:0/", "http://h:65536/", "http://h:x/", "http://a b/", "u:secret@h", 5],
)
async def test_a_url_that_a_peer_cannot_have_is_refused_without_showing_it(archive: RunningQuery, url: object) -> None:
    response = await archive.http.put("/peers/p", json={"Url": url})
    assert response.status_code == 400
    assert response.json()["Details"].startswith("Url: expected ")
    assert "secret" not in response.text


async def test_certificates_to_trust_may_be_text(archive: RunningQuery) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    await put(archive, "/peers/p", {"Url": "https://h/", "CaFile": pem})
    assert (await archive.json("/peers/p/configuration"))["CaFile"] == pem
    assert (await archive.http.put("/peers/p", json={"Url": "https://h/", "CaFile": "a\nb"})).status_code == 400


async def test_a_modality_that_cannot_be_reached_is_a_warning_in_the_log(
    archive: RunningQuery, dispatcher: FakeDispatcher
) -> None:
    dispatcher.problem = "nothing listens at 127.0.0.1:11299"
    with structlog.testing.capture_logs() as lines:
        assert (await archive.http.post("/modalities/sink/echo")).status_code == 500
    assert [line["log_level"] for line in lines if line["event"] == "request failed"] == ["warning"]
