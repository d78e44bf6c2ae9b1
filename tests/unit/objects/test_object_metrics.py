"""Requests to the object store are measured by what became of them."""

import errno
import os
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from osteon.errors import Invalid
from osteon.objects.folder import FolderObjects
from osteon.objects.port import ObjectNotFound, ObjectsUnavailable


def measured(operation: str, result: str) -> float:
    labels = {"operation": operation, "result": result}
    return REGISTRY.get_sample_value("osteon_object_duration_seconds_count", labels) or 0.0


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space left")


async def test_requests_are_measured_by_operation_and_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = FolderObjects(tmp_path / "objects")
    kinds = [("put", "ok"), ("get", "ok"), ("get", "refused"), ("get_range", "refused"), ("put", "failed")]
    before = {kind: measured(*kind) for kind in kinds}
    await objects.put("a/b", b"12")
    assert await objects.get("a/b") == b"12"
    with pytest.raises(ObjectNotFound):
        await objects.get("a/c")
    with pytest.raises(Invalid):
        await objects.get_range("a/b", 1, 5)
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ObjectsUnavailable):
        await objects.put("a/b", b"")
    assert {kind: measured(*kind) - before[kind] for kind in kinds} == dict.fromkeys(kinds, 1)
