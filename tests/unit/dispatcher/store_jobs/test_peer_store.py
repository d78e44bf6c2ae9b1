"""`OrthancPeerStore`: to `/instances` and by STOW-RS."""

import base64
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from osteon.archive.resources import InstanceScope
from osteon.contracts.imaging import TranscodeReply, TranscodeRequest
from osteon.contracts.topology import TRANSCODE
from osteon.errors import Invalid
from osteon.remotes.job_params import PeerStoreParams
from osteon.remotes.port import PEM, Peer
from osteon_dispatcher.peer_client import PeerRefused, PeerUnavailable
from osteon_dispatcher.store_jobs.send_run import SendFailed, SendIncomplete
from osteon_local.part import free_port
from support.dispatcher.store_jobs import HttpPeer, StoreJobsArchive, http_peer, sending_world
from support.imaging.in_process import nothing_below
from support.services.certificates import CertificateAuthority, needs_openssl


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoreJobsArchive]:
    monkeypatch.setattr("osteon_dispatcher.store_jobs.send_run._RETRY_PAUSE", 0.01)
    async with sending_world(tmp_path) as made:
        yield made


@pytest.fixture
def peer() -> Iterator[HttpPeer]:
    with http_peer() as made:
        yield made


async def send(world: StoreJobsArchive, peer: Peer, *resources: str, **more: Any) -> Any:
    await world.room.index.remotes.put_peer(peer)
    return await world.run(await world.submit(PeerStoreParams(peer=peer.name, resources=resources, **more)))


async def files(world: StoreJobsArchive, uids: list[str]) -> list[bytes]:
    found = []
    for uid in uids:
        (at,) = [each async for each in world.room.index.locate(InstanceScope(sop_uids=(uid,)))]
        found.append(await world.room.objects.get_range(at.key, at.offset, at.length))
    return found


async def test_files_come_as_they_are_stored_on_few_connections(world, peer):
    study, uids = await world.stored(9)
    job = await send(world, Peer(name="p", url=f"{peer.url}/base/"), study)
    assert sorted(body for _, _, body in peer.got) == sorted(await files(world, uids))
    assert {path for path, _, _ in peer.got} == {"/base/instances"}
    assert len(peer.connections) <= 4
    assert (job.progress, job.content["InstancesCount"], job.content["FailedInstancesCount"]) == (100, 9, 0)


async def test_credentials_and_headers_go_with_each_request(world, peer):
    study, _ = await world.stored()
    known = Peer(name="p", url=peer.url, username="me", password="söcret", headers=(("X-Token", "abc"),))
    await send(world, known, study)
    (_, headers, _) = peer.got[0]
    assert base64.b64decode(headers["Authorization"].split()[1]).decode() == "me:söcret"
    assert headers["X-Token"] == "abc"


async def test_compressed_files_say_so(world, peer):
    study, uids = await world.stored()
    await send(world, Peer(name="p", url=peer.url), study, compress=True)
    (_, headers, body) = peer.got[0]
    assert headers["Content-Encoding"] == "gzip"
    assert [gzip.decompress(body)] == await files(world, uids)


async def test_what_is_transcoded_is_sent_and_then_forgotten(world, peer):
    study, _ = await world.stored()
    asked: list[TranscodeRequest] = []

    async def transcode(message: TranscodeRequest) -> TranscodeReply:
        asked.append(message)
        await world.room.objects.put("cache/x.dcm", b"transcoded")
        return TranscodeReply(correlation_id="", key="cache/x.dcm", length=10, transfer_syntax_uid=message.targets[0])

    await world.room.bus.serve(TRANSCODE, transcode)
    await send(world, Peer(name="p", url=peer.url), study, transcode="1.2.840.10008.1.2.4.80")
    assert [body for _, _, body in peer.got] == [b"transcoded"]
    assert asked[0].targets == ["1.2.840.10008.1.2.4.80"]
    assert asked[0].lossy == []
    await nothing_below(world.room.objects, "cache/")


@pytest.mark.parametrize("status", [400, 415, 500])
async def test_one_that_is_refused_does_not_stop_the_others(world, peer, status):
    study, _ = await world.stored(5)
    peer.answers = [(status, b'{"Message": "bad"}')]
    if status == 500:
        assert (await send(world, Peer(name="p", url=peer.url), study)).content["FailedInstancesCount"] == 0
        assert len(peer.got) == 6
        return
    with pytest.raises(SendFailed, match=f"1 of 5 .*answered {status}: .*bad"):
        await send(world, Peer(name="p", url=peer.url), study)
    assert len(peer.got) == 5


@pytest.mark.parametrize("status", [301, 401, 404])
async def test_a_wrong_address_or_password_ends_the_job_at_once(world, peer, status):
    study, _ = await world.stored(20)
    peer.answers = [(status, b"")] * 20
    with pytest.raises(PeerRefused, match=f"answered {status}"):
        await send(world, Peer(name="p", url=peer.url), study)
    assert len(peer.got) <= 4


async def test_a_peer_that_is_busy_or_down_is_an_outage(world, peer):
    study, _ = await world.stored(3)
    peer.answers = [(503, b"soon")] * 3
    with pytest.raises(PeerUnavailable, match="soon"):
        await send(world, Peer(name="p", url=peer.url), study)
    with pytest.raises(PeerUnavailable, match="nothing listens"):
        await send(world, Peer(name="p", url=f"http://127.0.0.1:{free_port()}"), study)


async def test_an_answer_that_is_not_orthancs_is_no_success(world, peer):
    study, _ = await world.stored(2)
    peer.answers = [(200, b"<html>"), (200, b'{"Status": "FilteredOut"}')]
    with pytest.raises(SendFailed, match=r"2 of 2"):
        await send(world, Peer(name="p", url=peer.url), study)


# STOW-RS.


def module(stored: list[str], failed: dict[str, int], warned: dict[str, int] | None = None) -> bytes:
    def item(uid: str, tag: str = "", reason: int = 0) -> dict[str, Any]:
        named = {"00081155": {"vr": "UI", "Value": [uid]}}
        return named | ({tag: {"vr": "US", "Value": [reason]}} if tag else {})

    kept = [item(uid) for uid in stored] + [item(uid, "00081196", code) for uid, code in (warned or {}).items()]
    lost = [item(uid, "00081197", reason) for uid, reason in failed.items()]
    return json.dumps({"00081199": {"vr": "SQ", "Value": kept}, "00081198": {"vr": "SQ", "Value": lost}}).encode()


async def test_stow_sends_several_files_in_one_request(world, peer):
    study, uids = await world.stored(3)
    peer.answers = [(200, module(uids, {}))]
    job = await send(world, Peer(name="p", url=f"{peer.url}/dicom-web", dicomweb=True), study)
    ((path, headers, body),) = peer.got
    assert path == "/dicom-web/studies"
    boundary = headers.get_boundary()
    parts = body.split(f"--{boundary}".encode())
    assert parts[-1] == b"--\r\n"
    sent = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in parts[1:-1]]
    assert sent == await files(world, uids)
    assert headers.get_content_type() == "multipart/related"
    assert job.progress == 100


async def test_stow_reads_what_became_of_each(world, peer):
    study, uids = await world.stored(4)
    again = (200, module([uids[2]], {}))
    peer.answers = [(202, module(uids[:1], {uids[1]: 0xC000, uids[2]: 0xA700}, {uids[3]: 0xB000})), again]
    with pytest.raises(SendFailed, match=f"1 of 4 .*{uids[1]}.*0xC000"):
        await send(world, Peer(name="p", url=peer.url, dicomweb=True), study)
    assert len(peer.got) == 2
    content = next(iter(world.jobs.all.values())).content
    assert (content["FailedInstancesCount"], content["WarningInstancesCount"]) == (1, 1)


async def test_stow_that_is_refused_as_a_whole_has_sent_nothing(world, peer):
    study, _ = await world.stored(2)
    peer.answers = [(409, b"not JSON")]
    with pytest.raises(SendFailed, match=r"2 of 2 .*answered 409"):
        await send(world, Peer(name="p", url=peer.url, dicomweb=True), study)


async def test_stow_fills_requests_up_to_a_bound(world, peer, monkeypatch):
    monkeypatch.setattr("osteon_dispatcher.store_jobs.stow._FILES", 2)
    study, _ = await world.stored(5)
    peer.answers = [(200, b"")] * 3
    await send(world, Peer(name="p", url=peer.url, dicomweb=True), study)
    assert [body.count(b"Content-Type: application/dicom\r\n") for _, _, body in peer.got] == [2, 2, 1]


async def test_one_that_cannot_be_read_does_not_stop_the_others(world, peer):
    study, _ = await world.stored(2)
    other, uids = await world.stored(2)
    async for location in world.room.index.locate(InstanceScope(sop_uids=(uids[0],))):
        await world.room.objects.delete(location.key)
    for dicomweb in (False, True):
        peer.got.clear()
        peer.answers = [(200, b"{}")] * 8
        with pytest.raises((SendFailed, SendIncomplete), match=r"2 of 4 .*cannot be read"):
            await send(world, Peer(name="p", url=peer.url, dicomweb=dicomweb), study, other)
        assert [len(body) == int(headers["Content-Length"]) for _, headers, body in peer.got].count(True) == 2


@needs_openssl
async def test_a_peer_by_https_is_believed_when_its_certificate_is_signed_by_the_ca_file(world, tmp_path, monkeypatch):
    ca = CertificateAuthority(tmp_path, "Hospital")
    pair = ca.sign("peer")
    study, uids = await world.stored(2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with http_peer(context) as secure:
        url = f"https://127.0.0.1:{secure.port}"
        with pytest.raises(PeerUnavailable, match="certificate"):
            await send(world, Peer(name="p", url=url), study)
        await send(world, Peer(name="p", url=url, ca_file=ca.certificate.read_text()), study)
        monkeypatch.setenv("OSTEON_PEER_CA_DIR", str(ca.certificate.parent))
        for named in (ca.certificate.name, str(ca.certificate)):
            await send(world, Peer(name="p", url=url, ca_file=named), study)
    assert sorted(body for _, _, body in secure.got) == sorted(3 * await files(world, uids))


async def test_a_ca_file_tells_nothing_of_the_files_that_there_are(world, tmp_path, monkeypatch):
    study, _ = await world.stored(1)
    folder = tmp_path / "trusted"
    folder.mkdir()
    (folder / "text").write_text("no certificate")
    outside = tmp_path / "outside"
    outside.write_text("here")
    (folder / "link").symlink_to(outside)
    problems = set()
    for configured in ("", str(folder)):
        monkeypatch.setenv("OSTEON_PEER_CA_DIR", configured) if configured else None
        for named in ("missing", "text", "../outside", str(outside), "link", "/etc/passwd", ".", f"{PEM} and no more"):
            with pytest.raises(Invalid) as caught:
                await send(world, Peer(name="p", url="https://127.0.0.1:1", ca_file=named), study)
            problems.add(str(caught.value))
    assert len(problems) == 1
    assert "OSTEON_PEER_CA_DIR" in problems.pop()


@pytest.mark.parametrize("used", [False, True])
async def test_proxies_of_the_environment_are_used_only_if_the_setting_says_so(world, monkeypatch, used):
    study, _ = await world.stored(1)
    monkeypatch.setenv("OSTEON_PEER_PROXY_FROM_ENVIRONMENT", str(used))
    with http_peer() as proxy, http_peer() as peer:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        await send(world, Peer(name="p", url=peer.url), study)
    assert (len(proxy.got), len(peer.got)) == ((1, 0) if used else (0, 1))
