"""yamllint and checkov on the manifests, with the reason for each check that is left out."""

import json
from pathlib import Path

import pytest
import yaml

from support.deploy.checkers import built, run, tool
from support.deploy.manifests import K8S, OVERLAYS, ROOT

SKIPPED = {
    "CKV_K8S_11": "no limit of processor: a service that is throttled answers late, and nobody gains by it",
    "CKV_K8S_15": "tags of releases do not change, so nodes need not ask for an image that they have",
    "CKV_K8S_35": "settings are environment variables; the pods have no shell access and no token",
    "CKV_K8S_43": "the digest is that of your own build: an example cannot know it",
}
SKIPPED_IN_DEV = {
    "CKV_K8S_22": "the parts' own images write to more places than could be told without trying each release",
    "CKV_K8S_40": "their user is the one that the image was made for",
}


def test_the_style_of_all_yaml_is_one() -> None:
    done = run(tool("yamllint"), "--strict", "-c", "tests/deploy/tools/yamllint.yaml", K8S.relative_to(ROOT))
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_checkov_has_nothing_against_it(tmp_path: Path) -> None:
    checkov = tool("checkov")
    files = {folder.name: tmp_path / f"{folder.name}.yaml" for folder in OVERLAYS}
    for folder in OVERLAYS:
        files[folder.name].write_text(yaml.dump_all(built(folder), Dumper=yaml.CSafeDumper))
    options = ("--framework", "kubernetes", "--skip-download", "--output", "json", "--soft-fail")
    results = json.loads(run(checkov, "-f", *files.values(), *options).stdout)["results"]
    assert results["passed_checks"]
    for name, file in files.items():
        skipped = SKIPPED | (SKIPPED_IN_DEV if name == "dev" else {})
        failed = [check for check in results["failed_checks"] if Path(check["file_path"]).name == file.name]
        wrong = {f"{check['check_id']} {check['check_name']}: {check['resource']}" for check in failed}
        assert {line for line in wrong if line.split()[0] not in skipped} == set()
        unused = skipped.keys() - {check["check_id"] for check in failed}
        assert not unused, "a check that nothing fails any more need not be left out"
