"""The compose file: every service, only settings that exist, nothing open to the network unless asked for."""

import re
import shutil
import subprocess
from importlib.metadata import entry_points
from itertools import combinations
from typing import Any

import pytest
import yaml

from osteon.health import STARTING
from osteon.settings import ProcessSettings, known_names
from support.deploy.manifests import COMPOSE, DOCKERFILE, ROOT, commands, compose, services, settings_in

PARTS = {"balancer", "rabbitmq", "postgres", "objects", "prometheus", "grafana"}
JOBS = {"migrate"}
BUILD = {"IMAGE_TAG", "BASE_IMAGE", "REVISION"}
HAPROXY = (ROOT / "deploy" / "docker" / "haproxy.cfg").read_text()
PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())


def environment(name: str) -> dict[str, str]:
    found: dict[str, str] = compose()["services"][name].get("environment", {})
    return found


def raw() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return content


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_there_is_a_compose_service_for_every_service_and_every_part() -> None:
    assert set(compose()["services"]) == set(services()) | PARTS | JOBS


@pytest.mark.parametrize("name", [*services(), *sorted(JOBS)])
def test_a_service_runs_the_command_of_its_name(name: str) -> None:
    assert compose()["services"][name]["command"] == [name]
    assert name in commands() or entry_points(group="osteon.commands", name=name)


def test_every_setting_exists() -> None:
    used = settings_in(COMPOSE.read_text()) | settings_in((ROOT / ".env.example").read_text())
    assert used
    assert used <= known_names()


def test_nothing_is_published_beyond_the_loopback_address() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    always = [port for name in ("prometheus", "grafana") for port in raw()["services"][name]["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in always), "not even when PUBLISH_ADDRESS says so"


def test_only_the_balancer_publishes_ports_of_services_so_that_they_can_have_replicas() -> None:
    published = {name for name, service in compose()["services"].items() if "ports" in service}
    assert published == {"balancer", "prometheus", "grafana"}
    assert not [name for name, service in compose()["services"].items() if "container_name" in service]


def test_the_balancer_sends_each_door_to_the_service_that_has_it() -> None:
    servers = re.findall(r"^    server-template (\w+) \d+ (\w+):(\d+)(.*)$", HAPROXY, re.M)
    assert [(name, service, port) for name, service, port, _ in servers] == [
        ("ingress", "ingress", "4242"),
        ("ingress", "ingress", "2762"),
        ("query", "query", "8042"),
    ]
    said = {service for _, service, _, options in servers if "send-proxy-v2" in options}
    expected = {name for name in services() if environment(name).get("OSTEON_PROXY_PROTOCOL") == "true"}
    assert said == expected == {"ingress"}
    assert f'http-check expect ! string "{STARTING}"' in HAPROXY
    binds = set(re.findall(r"^    bind :(\d+)$", HAPROXY, re.M))
    assert {port.split(":")[2] for port in compose()["services"]["balancer"]["ports"]} == binds - {"8404"}
    assert environment("dispatcher")["OSTEON_OWN_DICOM_ADDRESS"] == "balancer:4242", "ingress takes nothing from others"


def test_two_services_that_find_each_other_by_name_share_one_network() -> None:
    """With two, a name has two addresses for each replica, and Prometheus counts it twice."""
    networks = {name: set(service["networks"]) for name, service in compose()["services"].items()}
    assert set.union(*networks.values()) == set(compose()["networks"])
    for one, other in combinations(sorted(PARTS), 2):
        assert len(networks[one] & networks[other]) <= 1
    (scraped,) = [job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "osteon"]
    assert set(scraped["dns_sd_configs"][0]["names"]) == set(services())
    others = {
        target.split(":")[0]
        for job in PROMETHEUS["scrape_configs"]
        for config in job.get("static_configs", ())
        for target in config["targets"]
    } - {"localhost"}
    for name in others | set(services()):
        assert len(networks["prometheus"] & networks[name]) == 1, name
    for name in ("ingress", "query"):
        assert len(networks["balancer"] & networks[name]) == 1, name
    assert networks["grafana"] & networks["prometheus"]


def test_who_has_no_business_with_the_database_does_not_reach_it() -> None:
    reached = {name for name, service in compose()["services"].items() if "data" in service["networks"]}
    assert reached == {"postgres", "migrate", "indexer", "query", "dispatcher"}
    assert reached - {"postgres"} == {
        name for name in compose()["services"] if "OSTEON_DATABASE_URL" in environment(name)
    }
    assert [name for name, options in compose()["networks"].items() if options == {"internal": True}] == ["bus", "data"]


@pytest.mark.parametrize("name", sorted(set(services()) | PARTS | JOBS))
def test_a_container_has_limits_and_can_not_gain_rights(name: str) -> None:
    service = compose()["services"][name]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", [*services(), *sorted(JOBS), "balancer", "prometheus", "grafana"])
def test_a_container_has_no_rights_and_a_root_that_it_can_not_write(name: str) -> None:
    service = compose()["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True


def test_one_job_makes_the_tables_and_who_needs_them_waits_for_it() -> None:
    for name in services():
        if "OSTEON_DATABASE_URL" in environment(name):
            assert environment(name)["OSTEON_MIGRATE"] == "false"
            waits = compose()["services"][name]["depends_on"]
            assert waits["migrate"] == {"condition": "service_completed_successfully"}
    assert compose()["services"]["migrate"]["restart"] == "no"


def test_ingress_and_writer_share_the_spool() -> None:
    for name in ("ingress", "writer"):
        assert "spool:/var/lib/osteon/spool" in compose()["services"][name]["volumes"]
        assert environment(name)["OSTEON_SPOOL_DIR"] == "/var/lib/osteon/spool"
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
            assert wait["condition"] != "service_healthy" or "healthcheck" in content[name] or name in services()
    assert "HEALTHCHECK" in DOCKERFILE.read_text()


def test_a_container_is_given_more_time_to_stop_than_the_drain_takes() -> None:
    drain = ProcessSettings.model_fields["drain_seconds"].default
    for name in services():
        assert seconds(compose()["services"][name]["stop_grace_period"]) > drain + 5


def test_every_variable_has_a_default_and_is_in_the_example() -> None:
    used = re.findall(r"\$\{(\w+)(:-[^}]+)?\}", COMPOSE.read_text())
    assert all(default for _, default in used)
    example = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line}
    assert {name for name, _ in used} - BUILD == example - {"#"}


def test_the_file_has_no_key_that_one_of_the_two_compose_versions_rejects() -> None:
    content = raw()
    assert {key for key in content if not key.startswith("x-")} == {"services", "networks", "volumes"}
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
