"""Settings come from the environment; what can not be used stops the start and is named."""

import os

import pytest

from osteon.settings import (
    GROUPS,
    BadSettings,
    BusSettings,
    DicomSettings,
    HttpSettings,
    ObjectSettings,
    known_names,
    load,
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OSTEON_")]:
        monkeypatch.delenv(name)


def test_defaults_are_those_that_clients_rely_on() -> None:
    assert (load(DicomSettings).aet, load(DicomSettings).dicom_port, load(HttpSettings).http_port) == (
        "OSTEON",
        4242,
        8042,
    )


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_ALLOWED_AETS", "CT1, MR1 ,")
    assert load(DicomSettings).allowed_aets == ("CT1", "MR1")


def test_an_unknown_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_DICOM_PROT", "104")
    with pytest.raises(BadSettings, match="OSTEON_DICOM_PROT: no such setting"):
        load(DicomSettings)


def test_every_invalid_value_is_named_with_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_DICOM_PORT", "many")
    monkeypatch.setenv("OSTEON_MAX_ASSOCIATIONS", "0")
    with pytest.raises(BadSettings) as error:
        load(DicomSettings)
    assert "OSTEON_DICOM_PORT" in str(error.value)
    assert "'many'" in str(error.value)
    assert "OSTEON_MAX_ASSOCIATIONS" in str(error.value)


def test_a_setting_of_another_service_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_HTTP_PORT", "8042")
    load(DicomSettings)


def test_no_two_groups_define_the_same_setting() -> None:
    names = [name for group in GROUPS for name in group.model_fields]
    assert len(names) == len(set(names)) == len(known_names())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OSTEON_AMQP_URL", "broker:5672", "expected amqp://"),
        ("OSTEON_S3_ENDPOINT", "http://127.0.0.1:8333", "without http://"),
        ("OSTEON_S3_ENDPOINT", "two words", "expected host or host:port"),
    ],
)
def test_an_address_of_a_part_that_can_not_be_meant_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=f"{name}: .*{said}"):
        load(BusSettings if "AMQP" in name else ObjectSettings)


@pytest.mark.parametrize("endpoint", ["minio", "minio:9000", "s3.eu-central-1.amazonaws.com", "[::1]:8333"])
def test_an_object_store_is_a_host_with_or_without_a_port(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("OSTEON_S3_ENDPOINT", endpoint)
    assert load(ObjectSettings).s3_endpoint == endpoint


def test_what_may_hold_a_password_is_not_repeated_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_AMQP_URL", "http://guest:topsecret@broker/")
    with pytest.raises(BadSettings) as error:
        load(BusSettings)
    assert "topsecret" not in str(error.value)
