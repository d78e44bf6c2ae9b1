"""Standalone says what is wrong with its data folder."""

from pathlib import Path

import pytest

from osteon_standalone.build import DataUnusable, held


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
