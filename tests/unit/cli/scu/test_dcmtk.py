"""The commands against DCMTK's programs."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from osteon.cli.scu import echo, find, get, move, send
from osteon_local.part import free_port
from support.cli.scu import ToolResult, program, tool
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes
from support.services.certificates import CertificateAuthority, needs_openssl

__all__ = ["tool"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dcmqrscp") is None, reason="DCMTK is not installed"),
]
Tool = Callable[..., ToolResult]
CONFIGURATION = """
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
sink = (SINK, 127.0.0.1, {sink})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
ARCHIVE {folder} RW (50, 1024mb) ANY
AETable END
"""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Run dcmqrscp; give its address, and the port of the destination SINK."""
    folder, port, sink = tmp_path / "archive", free_port(), free_port()
    folder.mkdir()
    (tmp_path / "dcmqrscp.cfg").write_text(CONFIGURATION.format(port=port, sink=sink, folder=folder))
    with program(port, "dcmqrscp", "+xy", "-c", "dcmqrscp.cfg", folder=tmp_path) as where:
        yield where, sink


def test_a_study_is_sent_found_moved_and_fetched(tool: Tool, archive: tuple[str, int], tmp_path: Path) -> None:
    where, port = archive
    source, sink = tmp_path / "in", tmp_path / "sink"
    source.mkdir()
    sink.mkdir()
    study = ct_slice().StudyInstanceUID
    paths = [saved(ct_slice(study=study, number=number), source) for number in range(20)]
    jpeg = dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))
    jpeg.StudyInstanceUID, jpeg.PatientID = study, "OSTEON-TEST"
    paths.append(saved(jpeg, source))
    aec = ("-aec", "ARCHIVE")
    assert tool(echo.main, where, *aec).code == 0
    assert json.loads(tool(send.main, where, *aec, source, "-n", 2, "--json").out)["sent"] == 21
    (found,) = json.loads(
        tool(find.main, where, *aec, "-k", "PatientName=Test*", "-k", "StudyInstanceUID", "--json").out
    )
    assert found["StudyInstanceUID"] == study

    key = ("-k", f"StudyInstanceUID={study}")
    fetched = tool(get.main, where, *aec, *key, "-o", tmp_path / "out", "--json")
    assert (fetched.code, json.loads(fetched.out)["files"]) == (0, 21), fetched
    by_name = {path.name: path for path in (tmp_path / "out").rglob("*.dcm")}
    for path in paths:
        assert dcmread(by_name[path.name]) == dcmread(path)
    assert dataset_bytes(by_name[paths[-1].name]) == dataset_bytes(paths[-1])

    with program(port, "storescp", "-aet", "SINK", str(port), folder=sink):
        moved = tool(move.main, where, *aec, *key, "--to", "SINK")
    assert "20 moved, 1 failed" in moved.out  # storescp takes no JPEG unless told
    assert len(list(sink.glob("CT.*"))) == 20


def test_a_storescp_that_aborts_gets_each_file_only_until_it_is_given_up(tool: Tool, tmp_path: Path) -> None:
    port = free_port()
    path = saved(ct_slice(), tmp_path)
    with program(port, "storescp", "--abort-after", str(port), folder=tmp_path) as where:
        ran = tool(send.main, where, path, "--retries", 1)
    assert (ran.code, "aborted" in ran.err) == (1, True), ran


def test_a_storescp_that_refuses_all_associations_is_said_so(tool: Tool, tmp_path: Path) -> None:
    port = free_port()
    with program(port, "storescp", "--refuse", str(port), folder=tmp_path) as where:
        ran = tool(send.main, where, saved(ct_slice(), tmp_path))
    assert (ran.code, "rejected" in ran.err) == (2, True), ran


def test_a_storescp_of_one_association_at_a_time_gets_all_from_several(tool: Tool, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "in").mkdir()
    for number in range(70):
        saved(ct_slice(number=number), tmp_path / "in")
    with program(port, "storescp", "--implicit", str(port), folder=tmp_path) as where:
        ran = tool(send.main, where, tmp_path / "in", "-n", 2, "--json")
    assert json.loads(ran.out)["sent"] == 70
    assert len(list(tmp_path.glob("CT.*"))) == 70


@needs_openssl
def test_a_storescp_with_tls_is_sent_to_when_it_shows_the_right_certificate(tool: Tool, tmp_path: Path) -> None:
    ca, other = CertificateAuthority(tmp_path, "Hospital"), CertificateAuthority(tmp_path, "Elsewhere")
    server, client, port = ca.sign("server"), ca.sign("client"), free_port()
    certificates = ("+tls", str(server.key), str(server.certificate), "+cf", str(ca.certificate))
    path = saved(ct_slice(), tmp_path)
    own = ("--cert", client.certificate, "--key", client.key)
    with program(port, "storescp", *certificates, str(port), folder=tmp_path) as where:
        sent = tool(send.main, where, path, "--tls", "--ca", ca.certificate, *own)
        echoed = tool(echo.main, where, "--tls", "--ca", ca.certificate, *own)
        untrusted = tool(echo.main, where, "--tls", "--ca", other.certificate, *own)
    assert (sent.code, "1 sent" in sent.out, echoed.code) == (0, True, 0), sent
    assert (untrusted.code, "certificate" in untrusted.err.lower()) == (2, True), untrusted
