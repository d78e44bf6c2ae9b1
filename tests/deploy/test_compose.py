"""The compose file: every service, only settings that exist, nothing open to the network unless asked for."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from osteon.settings import ProcessSettings, known_names
from support.deploy import COMPOSE, DOCKERFILE, ROOT, commands, compose, services, settings_in

PARTS = {"rabbitmq", "postgres", "objects"}


def environment(name: str) -> dict[str, str]:
    found: dict[str, str] = compose()["services"][name].get("environment", {})
    return found


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_there_is_a_compose_service_for_every_service_and_every_part() -> None:
    assert set(compose()["services"]) == set(services()) | PARTS


@pytest.mark.parametrize("name", services())
def test_a_service_runs_the_command_of_its_name(name: str) -> None:
    assert compose()["services"][name]["command"] == [name]
    assert name in commands()


def test_every_setting_exists() -> None:
    used = settings_in(COMPOSE.read_text()) | settings_in((ROOT / ".env.example").read_text())
    assert used
    assert used <= known_names()


def test_nothing_is_published_beyond_the_loopback_address() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:2762:2762", "127.0.0.1:4242:4242", "127.0.0.1:8042:8042"]


def test_ingress_and_writer_share_the_spool() -> None:
    for name in ("ingress", "writer"):
        assert "spool:/var/lib/osteon/spool" in compose()["services"][name]["volumes"]
        assert environment(name)["OSTEON_SPOOL"] == "/var/lib/osteon/spool"
    assert environment("ingress")["OSTEON_SPOOL_ID"] == environment("writer")["OSTEON_SPOOL_ID"]


def test_a_service_gets_no_secret_that_it_does_not_need() -> None:
    assert "OSTEON_DATABASE_URL" not in environment("ingress")
    assert "OSTEON_DATABASE_URL" not in environment("writer")


def test_every_dependency_and_every_named_volume_is_declared() -> None:
    content = compose()
    for service in content["services"].values():
        assert set(service.get("depends_on", {})) <= set(content["services"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in content["volumes"] or (ROOT / source).exists()


def test_what_is_waited_for_to_be_healthy_has_a_health_check() -> None:
    content = compose()["services"]
    for service in content.values():
        for name, wait in service.get("depends_on", {}).items():
            assert wait["condition"] == "service_started" or "healthcheck" in content[name] or name in services()
    assert "HEALTHCHECK" in DOCKERFILE.read_text()


def test_a_container_is_given_more_time_to_stop_than_the_drain_takes() -> None:
    drain = ProcessSettings.model_fields["drain_seconds"].default
    for name in services():
        assert seconds(compose()["services"][name]["stop_grace_period"]) > drain + 5


def test_every_variable_has_a_default_and_is_in_the_example() -> None:
    used = re.findall(r"\$\{(\w+)(:-[^}]+)?\}", COMPOSE.read_text())
    assert all(default for _, default in used)
    example = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line}
    assert {name for name, _ in used} - {"IMAGE_TAG"} == example - {"#"}


def test_the_file_has_no_key_that_one_of_the_two_compose_versions_rejects() -> None:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    assert {key for key in content if not key.startswith("x-")} == {"services", "volumes"}
    assert "name" not in content and "version" not in content, "1.29 has no `name`, 2 calls `version` obsolete"


@pytest.mark.parametrize("command", [("docker-compose",), ("docker", "compose")], ids=["v1", "v2"])
def test_compose_itself_accepts_the_file(command: tuple[str, ...]) -> None:
    if not shutil.which(command[0]) or run(*command, "version").returncode:
        pytest.skip(f"`{' '.join(command)}` is not here")
    done = run(*command, "-f", str(COMPOSE), "config", "-q")
    assert done.returncode == 0, done.stderr
    assert "obsolete" not in done.stderr


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
