"""Labels of resources over the embedded ports, and what a rebuilt index has of them."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from osteon.dicom.models import Level
from osteon.index.sql import SqlIndex
from osteon.user_data.limits import MAX_LABELS
from osteon_indexer.sweep import sweep
from support.dicom.datasets import ct_slice
from support.index.stored_packs import sqlite_url
from support.query.application import RunningQuery
from unit.query.orthanc.test_resources import UNKNOWN, id_of, two_series

SEGMENTS = ("patients", "studies", "series", "instances")


async def send(archive: RunningQuery, method: str, path: str, status: int = 200, **arguments: Any) -> httpx.Response:
    response = await archive.http.request(method, path, **arguments)
    assert response.status_code == status, f"{response.status_code} {response.text}"
    return response


async def find(archive: RunningQuery, **body: Any) -> list[str]:
    found = (await archive.http.post("/tools/find", json={"Query": {}, **body})).json()
    count = (await archive.http.post("/tools/count-resources", json={"Query": {}, **body})).json()
    assert count == {"Count": len(found)}
    return list(found)


@pytest.mark.parametrize("depth", range(4))
async def test_a_resource_of_each_level_gets_a_label_shows_and_loses_it(archive: RunningQuery, depth: int) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/{SEGMENTS[depth]}/{id_of(dataset, depth + 1)}"
    assert await archive.json(f"{path}/labels") == []
    await send(archive, "GET", f"{path}/labels/urgent", 404)
    for label in ("urgent", "a-B_9", "urgent"):
        assert (await send(archive, "PUT", f"{path}/labels/{label}")).content == b""
    assert await archive.json(f"{path}/labels") == ["a-B_9", "urgent"]
    assert (await archive.json(path))["Labels"] == ["a-B_9", "urgent"]
    assert await archive.json("/tools/labels") == ["a-B_9", "urgent"]
    assert (await send(archive, "GET", f"{path}/labels/urgent")).content == b""
    for _ in range(2):
        await send(archive, "DELETE", f"{path}/labels/urgent")
    assert await archive.json(f"{path}/labels") == ["a-B_9"]
    assert await archive.json("/tools/labels") == ["a-B_9"]


@pytest.mark.parametrize("label", ["a b", "ü", "a.b", "x" * 65])
async def test_a_label_of_another_form_is_refused(archive: RunningQuery, label: str) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/studies/{id_of(dataset, 2)}/labels/{label}"
    for method in ("PUT", "DELETE"):
        assert "1 to 64 of the characters" in (await send(archive, method, path, 400)).json()["Details"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_is_not_there_has_no_labels(archive: RunningQuery, method: str) -> None:
    await send(archive, method, f"/studies/{UNKNOWN}/labels/a", 404)
    await send(archive, "GET", f"/studies/{UNKNOWN}/labels", 404)


async def test_one_resource_has_a_limited_number_of_labels(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/studies/{id_of(dataset, 2)}/labels"
    for number in range(MAX_LABELS):
        await send(archive, "PUT", f"{path}/l{number}")
    assert "100 labels at most" in (await send(archive, "PUT", f"{path}/one-more", 413)).json()["Details"]
    await send(archive, "PUT", f"{path}/l0")


async def test_labels_given_at_the_same_time_are_all_there(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/studies/{id_of(dataset, 2)}/labels"
    await asyncio.gather(*(send(archive, "PUT", f"{path}/l{number}") for number in range(8)))
    assert await archive.json(path) == [f"l{number}" for number in range(8)]


async def test_resources_are_found_by_their_labels_not_by_those_above(archive: RunningQuery) -> None:
    datasets = await two_series(archive)
    ours, other = ct_slice(), ct_slice()
    await archive.stow(ours)
    await archive.stow(other)
    first, second, third = (id_of(dataset, 2) for dataset in (datasets[0], ours, other))
    for study, labels in ((first, "ab"), (second, "bc")):
        for label in labels:
            await send(archive, "PUT", f"/studies/{study}/labels/{label}")
    assert await find(archive, Level="Study", Labels=["b"]) == [first, second]
    assert await find(archive, Level="Study", Labels=["a", "b"]) == [first]
    assert await find(archive, Level="Study", Labels=["a", "c"], LabelsConstraint="All") == []
    assert await find(archive, Level="Study", Labels=["a", "c"], LabelsConstraint="Any") == [first, second]
    assert await find(archive, Level="Study", Labels=["a", "c"], LabelsConstraint="None") == [third]
    assert len(await find(archive, Level="Study", Labels=[], LabelsConstraint="None")) == 3
    assert await find(archive, Level="Series", Labels=["b"]) == []
    uid = datasets[0].StudyInstanceUID
    assert await find(archive, Level="Study", Labels=["b"], Query={"StudyInstanceUID": uid}) == [first]


@pytest.mark.parametrize("body", [{"Labels": ["a b"]}, {"Labels": [1]}, {"Labels": "a"}, {"LabelsConstraint": "Some"}])
async def test_a_find_with_other_labels_is_refused(archive: RunningQuery, body: dict[str, Any]) -> None:
    await send(archive, "POST", "/tools/find", 400, json={"Level": "Study", "Query": {}, **body})


async def test_a_rebuilt_index_has_the_labels_again(archive: RunningQuery, tmp_path: Path) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    path = f"/studies/{id_of(dataset, 2)}/labels"
    for label in ("a", "b", "c"):
        await send(archive, "PUT", f"{path}/{label}")
    await send(archive, "DELETE", f"{path}/b")
    # What a change left that was interrupted before its rows were written.
    (record,) = [info.key async for info in archive.objects.list("resources/")]
    await archive.objects.put(record.replace("000000000004", "000000000003"), b"not read, as another one is newer")
    rebuilt = SqlIndex(sqlite_url(tmp_path / "rebuilt.sqlite"))
    await rebuilt.start()
    try:
        for _ in range(2):
            await sweep(objects=archive.objects, index=rebuilt, min_age=timedelta(0))
            found = await rebuilt.user_data.read(Level.STUDY, id_of(dataset, 2))
            assert found == await archive.index.user_data.read(Level.STUDY, id_of(dataset, 2))
            assert found.labels == {"a", "c"}
    finally:
        await rebuilt.close()
