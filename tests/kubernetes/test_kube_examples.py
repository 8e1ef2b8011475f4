"""The examples of this project on a fake cluster, with workers: outside of it, and in a Pod that has a Docker."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from waiting import wait_for

from kubernetes.calling import Api
from kubernetes.conftest import Kubectl
from kubernetes.projects import TESTS, Project
from kubernetes.test_kube_engine import ARC
from kubernetes.test_kube_runs import RUN_INSIDE, passed, start_job

pytestmark = [pytest.mark.engine, pytest.mark.linux]

EXAMPLES = TESTS.parent / "examples"
# How many workers they have: a test of web_and_db stops the database, which another worker would use as well.
WORKERS = {"quickstart": 2, "departments": 2, "fresh_data": 2, "web_and_db": 0}
# Pods of a namespace reach each other's addresses, which two tests of `departments` rule out.
CHOSEN = "not other_department"
IN_A_POD = [*(pytest.param(name, None, id=name) for name in WORKERS), pytest.param("departments", ARC, id="arc")]
DOCKER = "/var/run/docker.sock"
FORWARDING = "tests/kubernetes/forwarding.py"


@pytest.mark.parametrize("name", WORKERS)
def test_outside(project: Project, registry: str, name: str) -> None:
    options = (f"--isolate-push={registry}/examples", f"-n{WORKERS[name]}", "-k", CHOSEN)
    assert passed(project.run(*options, str(EXAMPLES / name)))


@pytest.fixture
def registry_socket(project: Project, registry: str) -> Iterator[Path]:
    """A Unix socket in the project that leads to the registry, which listens on this host's loopback address only."""
    socket = project.path / "registry.sock"
    command = [sys.executable, str(TESTS.parent / FORWARDING), str(socket), registry.rpartition(":")[2]]
    with subprocess.Popen(command) as process:
        wait_for(socket.exists)
        yield socket
        process.kill()


@pytest.mark.parametrize(
    ("name", "rules"), [*((name, None) for name in WORKERS), pytest.param("departments", ARC, id="arc")]
)
@pytest.mark.usefixtures("registry_socket")
def test_in_a_pod(
    project: Project, api: Api, kubectl: Kubectl, machine: str, registry: str, name: str, rules: object
) -> None:
    """With the Role that is printed; or with that of Actions Runner Controller alone, which gives no Services."""
    role, binding = yaml.safe_load_all(project.command("kubernetes", "role").stdout)
    kubectl("apply", "-f", "-", text=yaml.safe_dump_all([{**role, "rules": rules or role["rules"]}, binding]))
    # In the Pod the registry has the same address, so that its name means the same there and for Docker.
    forwarding = ["python3", f"/src/{FORWARDING}", registry.rpartition(":")[2], "/project/registry.sock"]
    start_job(project, api, machine, forwarding, {DOCKER: DOCKER})
    options = f"--isolate-engine=kubernetes --isolate-push={registry}/examples -n{WORKERS[name]} -k '{CHOSEN}'"
    folder = "-c /dev/null --rootdir=/src/examples /src/examples"
    output = kubectl("exec", "job", "--", "sh", "-c", f"{RUN_INSIDE} {options} {folder}/{name} 2>&1 || true").stdout
    print(output)
    kubectl("delete", "pod", "job", "--grace-period=0", "--force")
    assert re.search(r"=+ \d+ passed in", output)
