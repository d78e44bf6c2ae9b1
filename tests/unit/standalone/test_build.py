"""Standalone says what is wrong with its data folder, and goes on where the last process stopped."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

import osteon_ingress.build
import osteon_query.build
from osteon.index.sql import SqlIndex
from osteon_standalone.build import DataUnusable, build, held
from osteon_standalone.settings import StandaloneServiceSettings
from support.dicom.datasets import ct_slice
from support.indexer.ports import indexer_room


def test_a_data_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with held(data), pytest.raises(DataUnusable, match="another Osteon works in"), held(data):
        pass
    with held(tmp_path / "data"):
        pass


def test_a_data_folder_that_can_not_be_made_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataUnusable, match="OSTEON_DATA"), held(tmp_path / "file" / "data"):
        pass


async def test_a_pack_that_was_stored_just_before_a_crash_is_indexed_at_the_next_start(tmp_path: Path) -> None:
    async with indexer_room(tmp_path) as room:
        await room.put("p1", ct_slice())
    shutil.rmtree(tmp_path / "spool")
    settings = StandaloneServiceSettings(data=tmp_path, dicom_port=0, http_port=0, demo=False)
    index = SqlIndex(f"sqlite+aiosqlite:///{tmp_path / 'index.sqlite'}")
    async with build(settings), asyncio.timeout(20):
        while (await index.statistics()).instances == 0:
            await asyncio.sleep(0.01)
    await index.close()


async def test_the_dicom_door_is_open_before_http_can_answer_that_all_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def noted(name: str, door: Any) -> Any:
        async def build_embedded(*args: Any, **kwargs: Any) -> Any:
            made = await door(*args, **kwargs)
            opened.append(name)
            return made

        return build_embedded

    for name, module in (("http", osteon_query.build), ("dicom", osteon_ingress.build)):
        monkeypatch.setattr(module, "build_embedded", noted(name, module.build_embedded))
    async with build(StandaloneServiceSettings(data=tmp_path, dicom_port=0, http_port=0, demo=False)):
        assert opened == ["dicom", "http"]
