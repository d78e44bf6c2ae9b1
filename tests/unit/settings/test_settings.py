"""Settings come from the environment; what cannot be used stops the start and is named."""

import os

import pytest

from osteon.settings import (
    GROUPS,
    RENAMED,
    BadSettings,
    BusSettings,
    CommitmentSettings,
    DicomSettings,
    DispatcherSettings,
    HttpSettings,
    IndexerSettings,
    ObjectSettings,
    PackSettings,
    ProcessSettings,
    RoutingSettings,
    Settings,
    SpoolSettings,
    known_names,
    load,
)
from osteon.settings.values import parse_size


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


def test_networks_are_addresses_with_or_without_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_UNLIMITED_HOSTS", "10.1.2.3/16, 192.0.2.1,2001:db8::/32")
    assert [str(each) for each in load(DicomSettings).unlimited_hosts] == [
        "10.1.0.0/16",
        "192.0.2.1/32",
        "2001:db8::/32",
    ]
    monkeypatch.setenv("OSTEON_UNLIMITED_HOSTS", "gateway")
    with pytest.raises(BadSettings, match=r"OSTEON_UNLIMITED_HOSTS.*gateway"):
        load(DicomSettings)


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
        ("OSTEON_S3_ENDPOINT", "objects:99999", "expected host or host:port"),
        ("OSTEON_S3_ENDPOINT", "objects:0", "expected host or host:port"),
        ("OSTEON_OWN_DICOM_ADDRESS", "ingress:65536", "a port from 1 to 65535"),
        ("OSTEON_OWN_DICOM_ADDRESS", "ingress:0", "a port from 1 to 65535"),
    ],
)
def test_an_address_of_a_part_that_cannot_be_meant_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=f"{name}: .*{said}"):
        load(BusSettings if "AMQP" in name else DispatcherSettings if "DICOM" in name else ObjectSettings)


@pytest.mark.parametrize("endpoint", ["minio", "minio:9000", "s3.eu-central-1.amazonaws.com", "[::1]:8333"])
def test_an_object_store_is_a_host_with_or_without_a_port(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("OSTEON_S3_ENDPOINT", endpoint)
    assert load(ObjectSettings).s3_endpoint == endpoint


def test_what_may_hold_a_password_is_not_repeated_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_AMQP_URL", "http://guest:topsecret@broker/")
    with pytest.raises(BadSettings) as error:
        load(BusSettings)
    assert "topsecret" not in str(error.value)


def test_the_old_name_of_a_setting_stops_the_start_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_STABLE_AGE", "60")
    with pytest.raises(BadSettings, match=r"^OSTEON_STABLE_AGE is now OSTEON_STABLE_AGE_SECONDS "):
        load(DicomSettings)


def test_a_renamed_setting_leads_to_one_that_there_is() -> None:
    assert set(RENAMED.values()) <= known_names()
    assert not set(RENAMED) & known_names()


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("67108864", 64 << 20),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("64MB", 64_000_000),
        ("1.5GB", 1_500_000_000),
        ("2TiB", 2 << 40),
        ("100000B", 100_000),
    ],
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(monkeypatch: pytest.MonkeyPatch, value: str, size: int) -> None:
    monkeypatch.setenv("OSTEON_PACK_SIZE_BYTES", value)
    assert load(PackSettings).pack_size_bytes == size


@pytest.mark.parametrize(
    ("value", "seconds"), [("2.5", 2.5), ("250ms", 0.25), ("10s", 10), ("5 m", 300), ("2h", 7200), ("1d", 86_400)]
)
def test_a_duration_is_a_number_or_has_a_unit(monkeypatch: pytest.MonkeyPatch, value: str, seconds: float) -> None:
    monkeypatch.setenv("OSTEON_STABLE_AGE_SECONDS", value)
    assert load(RoutingSettings).stable_age_seconds == seconds


def test_a_plain_number_is_in_the_unit_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, hours in (("2", 2.0), ("30m", 0.5), ("1d", 24.0)):
        monkeypatch.setenv("OSTEON_SWEEP_HOURS", value)
        assert load(IndexerSettings).sweep_hours == hours
    monkeypatch.setenv("OSTEON_COMMITMENT_DAYS", "12h")
    assert load(CommitmentSettings).commitment_days == 0.5


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OSTEON_PACK_SIZE_BYTES", "64Mbit", "expected a number of bytes, or one with a unit: KB, MB"),
        ("OSTEON_PACK_SIZE_BYTES", "1KB", "expected at least 65536"),
        ("OSTEON_PACK_SIZE_BYTES", "-1", "expected at least 65536"),
        ("OSTEON_PACK_SECONDS", "5 minutes", "expected a number, or one with a unit: ms, s, m, h or d"),
        ("OSTEON_PACK_SECONDS", "0s", "expected more than 0"),
        ("OSTEON_PACK_SECONDS", "soon", "expected a number"),
    ],
)
def test_an_invalid_size_or_duration_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=f"{name}: .*{said}.*'{value}'"):
        load(PackSettings if "BYTES" in name else SpoolSettings)


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        (ProcessSettings, "OSTEON_LOG_LEVEL", "LOUD", "expected 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        (ProcessSettings, "OSTEON_METRICS_MAX_AETS", "many", "expected a whole number"),
        (ProcessSettings, "OSTEON_TRACING_ENDPOINT", "collector", "expected the form "),
        (SpoolSettings, "OSTEON_SPOOL_HIGH_WATER", "1.5", "expected at most 1.0"),
        (ObjectSettings, "OSTEON_S3_SECURE", "perhaps", "expected true or false"),
        (ObjectSettings, "OSTEON_S3_ENDPOINT", "http://x", "expected host or host:port, without http://"),
    ],
)
def test_what_is_expected_is_said_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, kind: type[Settings], name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as raised:
        load(kind)
    assert f"{name}: {said}" in str(raised.value)
    assert repr(value) in str(raised.value)


def test_the_name_of_a_size_or_a_duration_says_its_unit() -> None:
    """A number with a fraction is a duration; what is none says so by its name."""
    units = ("_seconds", "_hours", "_days", "_high_water")
    for group in GROUPS:
        for name, field in group.model_fields.items():
            assert field.annotation is not float or name.endswith(units), name
            size = any(getattr(entry, "func", None) is parse_size for entry in field.metadata)
            assert size == name.endswith("_bytes"), name
