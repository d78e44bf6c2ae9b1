"""DICOM TLS of a running archive in both roles, with DCMTK and Orthanc, mutual authentication throughout."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydicom.uid import generate_uid

from osteon_local.cluster import Cluster, Parts
from osteon_local.part import free_port
from support.archive.running import RunningArchive, StandaloneProcess, eventually
from support.dicom.datasets import ct_slice, saved
from support.services.certificates import CertificateAuthority, CertificatePair, needs_openssl
from support.services.parts import Postgres, RabbitMQ, SeaweedFS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    needs_openssl,
    pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed"),
]
ENVIRONMENT = {"TCP_NODELAY": "1", "PATH": "/usr/bin"}


@dataclass
class Hospital:
    """An archive with a secure port, and who may call it."""

    archive: RunningArchive
    port: int
    ca: CertificateAuthority
    certificate: CertificatePair
    scanner: CertificatePair
    stranger: CertificatePair

    def dcmtk(self, program: str, *arguments: str | Path, pair: CertificatePair | None = None) -> tuple[int, str]:
        """Run a DCMTK client with TLS; return its status and what it printed."""
        pair = pair or self.scanner
        tls = ("+tls", pair.key, pair.certificate, "+cf", self.ca.certificate)
        command = [program, *tls, "-aec", "OSTEON", "127.0.0.1", self.port, *arguments]
        done = subprocess.run(
            list(map(str, command)), check=False, capture_output=True, text=True, timeout=60, env=ENVIRONMENT
        )
        return done.returncode, done.stdout + done.stderr

    def presented(self) -> str:
        """Return the common name in the certificate of the secure port."""
        context = ssl.create_default_context(cafile=str(self.ca.certificate))
        context.load_cert_chain(self.scanner.certificate, self.scanner.key)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            subject = (secure.getpeercert() or {})["subject"]
        return str(dict(pair for part in subject for pair in part)["commonName"])  # type: ignore[misc]


@pytest.fixture(scope="module", params=["standalone", "cluster"])
def hospital(request: pytest.FixtureRequest) -> Iterator[Hospital]:
    folder = Path(tempfile.mkdtemp(prefix="osteon-tls-"))
    ca, other = CertificateAuthority(folder, "Hospital"), CertificateAuthority(folder, "Elsewhere")
    pair, port = ca.sign("archive"), free_port()
    settings = {
        "OSTEON_DICOM_TLS_PORT": str(port),
        "OSTEON_DICOM_TLS_CERTIFICATE": str(pair.certificate),
        "OSTEON_DICOM_TLS_KEY": str(pair.key),
        "OSTEON_DICOM_TLS_CA": str(ca.certificate),
    }
    started = standalone if request.param == "standalone" else cluster
    try:
        with started(request, folder, settings) as archive:
            yield Hospital(archive, port, ca, pair, ca.sign("scanner"), other.sign("stranger"))
    finally:
        shutil.rmtree(folder)


@contextmanager
def standalone(request: pytest.FixtureRequest, folder: Path, settings: dict[str, str]) -> Iterator[RunningArchive]:
    process = StandaloneProcess(folder / "data", **settings)
    try:
        yield process.start()
    finally:
        process.stop()


@contextmanager
def cluster(request: pytest.FixtureRequest, folder: Path, settings: dict[str, str]) -> Iterator[RunningArchive]:
    postgres: Postgres = request.getfixturevalue("postgres")
    seaweedfs: SeaweedFS = request.getfixturevalue("seaweedfs")
    broker = RabbitMQ(folder / "rabbitmq")
    parts = Parts(broker, postgres, seaweedfs, database_url=postgres.create_database(), bucket="tls")
    with Cluster(folder / "cluster", parts=parts, settings=settings) as running:
        yield RunningArchive(running.dicom_port, running.url)


@contextmanager
def storescp(hospital: Hospital, pair: CertificatePair) -> Iterator[int]:
    """Run DCMTK's storescp with TLS."""
    port, folder = free_port(), Path(tempfile.mkdtemp())
    tls = ["+tls", str(pair.key), str(pair.certificate), "+cf", str(hospital.ca.certificate)]
    process = subprocess.Popen(["storescp", *tls, "-od", str(folder), str(port)], env=ENVIRONMENT, cwd=folder)
    try:
        eventually(lambda: _listens(port))
        yield port
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def echo(hospital: Hospital, name: str, port: int, *, tls: bool) -> httpx.Response:
    """Add a modality and C-ECHO it."""
    body = {"AET": "SINK", "Host": "127.0.0.1", "Port": port, "UseDicomTls": tls, "Timeout": 10}
    httpx.put(f"{hospital.archive.url}/modalities/{name}", json=body, timeout=30).raise_for_status()
    return httpx.post(f"{hospital.archive.url}/modalities/{name}/echo", json={}, timeout=60)


def test_storescu_stores_by_tls_what_is_then_found(hospital: Hospital, tmp_path: Path) -> None:
    uid = generate_uid()
    files = [saved(ct_slice(study=uid, number=number), tmp_path) for number in range(1, 6)]
    status, said = hospital.dcmtk("storescu", *files)
    assert status == 0, said
    path = f"/dicom-web/instances?StudyInstanceUID={uid}"
    eventually(lambda: len(json.loads(hospital.archive.get(path).text or "[]")) == 5)


def test_who_has_no_certificate_of_the_hospital_is_refused_while_the_plain_port_serves(hospital: Hospital) -> None:
    assert hospital.dcmtk("echoscu")[0] == 0
    status, said = hospital.dcmtk("echoscu", pair=hospital.stranger)
    assert status != 0, said
    command = ["echoscu", "-aec", "OSTEON", "127.0.0.1", str(hospital.archive.dicom_port)]
    assert subprocess.run(command, check=False, timeout=60, env=ENVIRONMENT).returncode == 0


def test_a_modality_that_wants_tls_is_called_by_tls(hospital: Hospital) -> None:
    with storescp(hospital, hospital.scanner) as port:
        assert echo(hospital, "sink", port, tls=True).status_code == 200
        assert echo(hospital, "sink-plain", port, tls=False).status_code != 200


def test_a_modality_of_another_ca_is_not_spoken_to_and_the_answer_says_why(hospital: Hospital) -> None:
    with storescp(hospital, hospital.stranger) as port:
        answer = echo(hospital, "stranger", port, tls=True)
        assert answer.status_code != 200
        assert "certificate" in answer.text


def test_a_new_certificate_is_presented_without_a_restart(hospital: Hospital) -> None:
    assert hospital.presented() == "archive"
    renewed = hospital.ca.sign("renewed")
    for new, old in ((renewed.key, hospital.certificate.key), (renewed.certificate, hospital.certificate.certificate)):
        shutil.copy(new, old)
    eventually(lambda: hospital.presented() == "renewed")
    assert hospital.dcmtk("echoscu")[0] == 0


@pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed")
def test_orthanc_and_the_archive_talk_by_tls_in_both_directions(hospital: Hospital, tmp_path: Path) -> None:
    dicom, web = free_port(), free_port()
    peer = {"AET": "OSTEON", "Host": "127.0.0.1", "Port": hospital.port, "UseDicomTls": True}
    settings = {
        "StorageDirectory": str(tmp_path), "IndexDirectory": str(tmp_path), "RemoteAccessAllowed": False,
        "DicomAet": "ORTHANC", "DicomPort": dicom, "HttpPort": web, "DicomModalities": {"osteon": peer},
        "DicomTlsEnabled": True, "DicomTlsRemoteCertificateRequired": True,
        "DicomTlsCertificate": str(hospital.scanner.certificate), "DicomTlsPrivateKey": str(hospital.scanner.key),
        "DicomTlsTrustedCertificates": str(hospital.ca.certificate),
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (tmp_path / "log").open("wb") as log:
        command = ["Orthanc", str(tmp_path / "orthanc.json")]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: _listens(web) and _listens(dicom))
        assert echo(hospital, "orthanc", dicom, tls=True).status_code == 200
        uid = generate_uid()
        body = saved(ct_slice(study=uid), tmp_path).read_bytes()
        stored = httpx.post(f"http://127.0.0.1:{web}/instances", content=body, timeout=30).json()["ID"]
        sent = httpx.post(f"http://127.0.0.1:{web}/modalities/osteon/store", content=stored, timeout=60)
        assert sent.status_code == 200, sent.text
        path = f"/dicom-web/studies?StudyInstanceUID={uid}"
        eventually(lambda: len(json.loads(hospital.archive.get(path).text or "[]")) == 1)
    finally:
        process.terminate()
        process.wait(20)
