"""The disaster drill of docs/backup.md: the database is lost, and comes back from the bucket or from an old backup."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from osteon_local import Postgres, RabbitMQ, SeaweedFS
from osteon_local.cluster import Cluster, Parts
from osteon_local.part import find_binary
from support.archive.running import RunningArchive, eventually
from support.dicom.datasets import ct_slice, saved
from support.load.modalities import ModalityFile, SendingModality, archive_of, images, nothing_lost, retrieved

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SETTINGS = {"OSTEON_PACK_SECONDS": "0.2", "OSTEON_SWEEP_MIN_AGE_SECONDS": "0"}
RULE = {"when": "instance", "match": {"Modality": "MR"}, "send": [{"modality": "viewer"}]}
WITHOUT_DATABASE = ("writer", "ingress")
"""Services that do without it, and go on."""


@pytest.fixture(scope="module")
def cluster(parts_folder: Path, postgres: Postgres, seaweedfs: SeaweedFS) -> Iterator[Cluster]:
    folder = parts_folder / "disaster"
    url = postgres.create_database("disaster")
    parts = Parts(RabbitMQ(folder / "rabbitmq"), postgres, seaweedfs, database_url=url, bucket="disaster")
    with Cluster(folder, parts=parts, replicas={"imaging": 0, "dispatcher": 0}, settings=SETTINGS) as running:
        yield running


def osteon(cluster: Cluster, *arguments: str) -> str:
    """Run a command as an operator does; fails the test unless it ends with 0."""
    command = [sys.executable, "-m", "osteon.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=cluster.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def postgres_tool(cluster: Cluster, name: str, *arguments: str) -> None:
    """Run pg_dump or pg_restore on the cluster's database."""
    tool = find_binary(name, "/usr/lib/postgresql/*/bin", install="apt-get install postgresql")
    url = cluster.parts.database_url.replace("+psycopg", "")
    done = subprocess.run([tool, *arguments, f"--dbname={url}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def without_database(cluster: Cluster) -> Iterator[None]:
    """Drop the database and make an empty one, with the services that use it stopped."""
    stopped = [replica for name, replica in cluster.replicas.items() if name.partition("-")[0] not in WITHOUT_DATABASE]
    for replica in stopped:
        replica.process.stop()
    cluster.parts.postgres.drop_database(cluster.parts.database_url)
    cluster.parts.postgres.create_database("disaster")
    yield
    for replica in stopped:
        replica.process.start()
    cluster.wait_ready()


def send(cluster: Cluster, folder: Path, **shape: int) -> dict[str, ModalityFile]:
    """Send a study of new instances as a modality; returns what was acknowledged, which is all."""
    modality = SendingModality(images(folder, **shape), [cluster.dicom_port])
    modality.run()
    assert (len(modality.acknowledged), modality.refused) == (len(modality.images), [])
    return modality.acknowledged


def contested(cluster: Cluster, folder: Path) -> str:
    """Send two versions of an instance; returns its study."""
    folder.mkdir()
    first = ct_slice()
    other = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, SOPInstanceUID=first.SOPInstanceUID,
                     PatientComments="the second")  # fmt: skip
    other.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    archive = archive_of(cluster)
    for dataset in (first, other):
        assert archive.send([saved(dataset, folder)]) == [0x0000]
        # Which one is the first is told by the time at which its pack was begun.
        eventually(lambda: not list((cluster.data / "spool").glob("*/*.tar*")))
    eventually(lambda: conflicts(archive, str(first.StudyInstanceUID)))
    return str(first.StudyInstanceUID)


def conflicts(archive: RunningArchive, study: str) -> list[dict[str, Any]]:
    return list(archive.get("/conflicts", params={"state": "all", "study": study}).json())


def take_the_second(cluster: Cluster, study: str) -> None:
    archive = archive_of(cluster)
    [conflict] = conflicts(archive, study)
    archive.post(f"/conflicts/{conflict['Id']}/resolve", json={"keep": "second"})


def told(archive: RunningArchive, studies: Sequence[str]) -> dict[str, object]:
    """Return all that clients are told of studies: attributes, Orthanc's identifiers, bytes, conflicts."""
    found: dict[str, object] = {}
    for study in studies:
        [row] = archive.get("/dicom-web/studies", params={"StudyInstanceUID": study, "includefield": "all"}).json()
        del row["00081190"]  # Retrieve URL
        of_study = archive.post("/tools/find", json={"Level": "Instance", "Query": {"StudyInstanceUID": study}}).json()
        # Its number and when it was noticed are the index's own.
        aside = [{k: v for k, v in each.items() if k not in ("Id", "Detected", "Resolved")}
                 for each in conflicts(archive, study)]  # fmt: skip
        found[study] = (row, sorted(of_study), retrieved(archive, study), aside)
    return found


def configured(archive: RunningArchive) -> tuple[list[str], list[str], list[str]]:
    """Return the names of modalities, peers and rules."""
    modalities, peers, rules = (archive.get(f"/{kind}").json() for kind in ("modalities", "peers", "rules"))
    return modalities, peers, list(rules)


def put(archive: RunningArchive, path: str, content: object) -> None:
    httpx.put(archive.url + path, json=content, timeout=30).raise_for_status()


def test_a_lost_database_is_made_again_from_the_bucket_while_modalities_go_on_sending(
    cluster: Cluster, tmp_path: Path
) -> None:
    archive = archive_of(cluster)
    put(archive, "/modalities/viewer", ["VIEWER", "127.0.0.1", 11112])
    put(archive, "/rules/to-the-viewer", RULE)
    known = send(cluster, tmp_path / "before", series=2, slices=10)
    decided, open_one = contested(cluster, tmp_path / "decided"), contested(cluster, tmp_path / "open")
    take_the_second(cluster, decided)
    nothing_lost(cluster, known)
    studies = [*{image.study for image in known.values()}, decided, open_one]
    before = told(archive, studies)
    last = archive.get("/changes", params={"last": ""}).json()["Last"]

    with without_database(cluster):
        late = send(cluster, tmp_path / "meanwhile", slices=10)
        eventually(lambda: not list((cluster.data / "spool").glob("*/*.tar*")))
        indexed = osteon(cluster, "reindex").splitlines()[-1]
        assert int(indexed.removesuffix(" packs indexed.")) >= 7, "two series, four versions, one series meanwhile"

    assert told(archive, studies) == before
    nothing_lost(cluster, known | late)
    assert "0 problems" in osteon(cluster, "verify", "--deep", "--grace", "0")
    # What docs/backup.md says is lost without a backup of the database.
    assert configured(archive) == ([], [], [])
    assert archive.get("/jobs").json() == []
    assert archive.get("/changes", params={"last": ""}).json()["Last"] != last


def test_an_old_backup_of_the_database_is_brought_up_to_date_by_the_sweep(cluster: Cluster, tmp_path: Path) -> None:
    archive = archive_of(cluster)
    put(archive, "/modalities/viewer", ["VIEWER", "127.0.0.1", 11112])
    put(archive, "/rules/to-the-viewer", RULE)
    known = send(cluster, tmp_path / "old", slices=10)
    study = contested(cluster, tmp_path / "contested")
    nothing_lost(cluster, known)
    dump = tmp_path / "index.dump"
    postgres_tool(cluster, "pg_dump", "--format=custom", f"--file={dump}")
    since = send(cluster, tmp_path / "since", series=2, slices=10)
    nothing_lost(cluster, since)
    take_the_second(cluster, study)
    studies = [*{image.study for image in (known | since).values()}, study]
    before = told(archive, studies)

    with without_database(cluster):
        postgres_tool(cluster, "pg_restore", "--no-owner", "--exit-on-error", str(dump))

    nothing_lost(cluster, known | since)
    eventually(lambda: told(archive, studies) == before)
    assert "0 problems" in osteon(cluster, "verify", "--deep", "--grace", "0")
    assert configured(archive) == (["viewer"], [], ["to-the-viewer"])
