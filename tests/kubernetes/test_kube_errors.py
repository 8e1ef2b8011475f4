"""What users read where a cluster refuses: whole runs on a fake cluster, and the text of the error as they see it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest

from kubernetes.calling import Api
from kubernetes.fake.handle import FakeCluster
from kubernetes.projects import WEB, Project, Result

pytestmark = [pytest.mark.engine, pytest.mark.linux]

TEST = "def test_it(web): pass"
WAIT = "--isolate-pod-wait=2s"


def error_text(result: Result, project: Project) -> str:
    """The text between the title and the summary, without what differs from run to run; it is said once."""
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    _, title, rest = result.stdout.partition("ERROR at setup of test_it ")
    assert title
    text = rest.partition("\n")[2].partition("\n====")[0]
    assert "Traceback" not in result.stdout
    assert '{"' not in result.stdout
    text = re.sub(r"isolate-[0-9a-f]{8}-web-[0-9a-f]{4}-\d+-[0-9a-f]{12}", "POD", text)
    text = re.sub(r"isolate-[0-9a-f]{8}-web-[0-9a-f]{4}-\d+", "CONTAINER", text)
    text = re.sub(r"conftest.py:\d+", "conftest.py:N", text.replace(str(project.path), "FOLDER"))
    return text.replace(project.env["PYTEST_ISOLATE_NAMESPACE"], "NAMESPACE")


def run(project: Project, *texts: str, args: tuple[str, ...] = ()) -> str:
    project.write("conftest.py", *(texts or (WEB,)))
    project.write("test_it.py", TEST)
    return error_text(project.run(*args), project)


def test_a_namespace_that_allows_nothing(project: Project, fake_cluster: FakeCluster, namespace: str) -> None:
    made = fake_cluster.order("add_user", user="nobody", namespace=namespace, rules=[])
    project.env["KUBECONFIG"] = made["kubeconfig"]
    project.write("conftest.py", WEB)
    project.write("test_it.py", TEST)
    result = project.run()
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stdout
    # The error is written to stderr, pytest's header to stdout: which of them comes first depends on Python's buffers.
    text = result.stdout.partition("ERROR: ")[2].partition("\n\n")[0].replace(namespace, "NAMESPACE")
    assert text.splitlines() == [
        "--isolate-engine=kubernetes lacks 14 rights in namespace 'NAMESPACE'",
        "  tried  SelfSubjectAccessReview for 24 rights",
        "  found  pods: create, delete, get, list, patch, because services are pods",
        "         secrets: create, delete, get, list, "
        "because programs and variables of services, and networks, are Secrets",
        "         pods/exec: create, get, because start, stop, files and commands in services go by exec",
        "         pods/log: get, because logs of services are read there",
        "         pods/portforward: create, get, because tests outside the cluster reach services by port-forward",
        "  do     have the Role applied, by one who may:",
        "         pytest-isolate kubernetes role --namespace=NAMESPACE | kubectl apply -f -",
    ]


def test_a_quota_that_is_full_is_told_after_it_was_waited_for(project: Project, api: Api) -> None:
    api.create("resourcequotas", {"metadata": {"name": "ci"}, "spec": {"hard": {"pods": "0"}}})
    assert run(project, args=(WAIT,)).splitlines() == [
        "service 'web' (debian:bookworm-slim) could not be started: "
        "container CONTAINER has no room in namespace 'NAMESPACE': its quota is full",
        "  tried  create its pod, for 2 s",
        '  found  pods "POD" is forbidden: exceeded quota: ci, requested: pods=1, used: pods=0, limited: pods=0',
        "  do     end what else runs there: kubectl -n NAMESPACE get pods; or have the quota raised",
        "         memory= and cpus= of the service say what it asks for",
        "         where room comes later, as from an autoscaler, wait longer: --isolate-pod-wait=10m",
        "         it is declared at FOLDER/conftest.py:N",
    ]


def test_an_image_that_is_not_there(project: Project, registry: str) -> None:
    name = f"{registry}/nothing:here"
    text = run(project, f"web = service({name!r}, port=80)").replace(registry, "REGISTRY")
    assert text.splitlines() == [
        "service 'web' (REGISTRY/nothing:here) could not be started: "
        "image REGISTRY/nothing:here could not be looked up: REGISTRY has no such image",
        "  tried  http://REGISTRY/v2/nothing/manifests/here",
        "  found  404 MANIFEST_UNKNOWN: manifest unknown",
        "  do     check name and tag",
        "         or, where it was loaded into the nodes, declare entrypoint= and command= in full",
        "         it is declared at FOLDER/conftest.py:N",
    ]


def test_an_image_that_only_nodes_could_have(project: Project, registry: str) -> None:
    name = f"{registry}/nothing:here"
    declared = f"web = service({name!r}, port=80, entrypoint=['sleep'], command=['infinity'])"
    text = run(project, declared).replace(registry, "REGISTRY")
    assert text.splitlines() == [
        "service 'web' (REGISTRY/nothing:here) could not be started: "
        "image REGISTRY/nothing:here could not be pulled: its registry has no such image",
        '  found  ErrImagePull: failed to pull and unpack image "REGISTRY/nothing:here": failed to resolve reference '
        '"REGISTRY/nothing:here": manifest for REGISTRY/nothing:here not found: manifest unknown: manifest unknown',
        "  do     check name and tag; where it is only on this machine, load it: "
        "kind load docker-image, k3d image import",
        "         it is declared at FOLDER/conftest.py:N",
    ]


def test_an_image_whose_registry_does_not_answer(project: Project) -> None:
    """Neither from here, so that nothing is known of it, nor from its node."""
    assert run(project, "web = service('localhost:1/nothing:here', port=80)", args=(WAIT,)).splitlines() == [
        "service 'web' (localhost:1/nothing:here) could not be started: "
        "image localhost:1/nothing:here could not be pulled: its node does not get it",
        '  found  ImagePullBackOff: Back-off pulling image "localhost:1/nothing:here": ErrImagePull: failed to pull '
        'and unpack image "localhost:1/nothing:here": failed to resolve reference "localhost:1/nothing:here": '
        'Get "http://localhost:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
        "  do     see whether nodes of the cluster reach its registry",
        "         it is declared at FOLDER/conftest.py:N",
    ]


def test_a_node_that_never_comes(project: Project, fake_cluster: FakeCluster) -> None:
    fake_cluster.order("set_full", is_full=True)
    try:
        text = run(project, args=(WAIT,))
    finally:
        fake_cluster.order("set_full", is_full=False)
    assert text.splitlines() == [
        "service 'web' (debian:bookworm-slim) could not be started: "
        "container CONTAINER has no node: none of the cluster's can take it",
        "  tried  nodes with kubernetes.io/arch=amd64, for 2 s",
        "  found  0/1 nodes are available: 1 node(s) were unschedulable.",
        "  do     give the cluster more nodes, or end what else runs there",
        "         memory= and cpus= of the service say what it asks for; tolerations and nodeSelector of "
        "--isolate-pod-template say where it may run",
        "         where room comes later, as from an autoscaler, wait longer: --isolate-pod-wait=10m",
        "         it is declared at FOLDER/conftest.py:N",
    ]


@pytest.fixture
def restricted(fake_cluster: FakeCluster, project: Project) -> Iterator[None]:
    """The project runs in a namespace of the level `restricted`."""
    name = f"restricted-{secrets.token_hex(4)}"
    fake_cluster.order("add_namespace", name=name, labels={"pod-security.kubernetes.io/enforce": "restricted"})
    project.env["PYTEST_ISOLATE_NAMESPACE"] = name
    yield
    Api(fake_cluster.kubeconfig, name).call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.usefixtures("restricted")
def test_a_restricted_namespace_with_an_image_of_root(project: Project) -> None:
    assert run(project).splitlines() == [
        "service 'web' (debian:bookworm-slim) could not be started: container CONTAINER was refused in namespace "
        "'NAMESPACE': it is against its Pod Security level 'restricted'",
        '  found  pods "POD" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities '
        '(container "service" must not include "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", '
        '"SETPCAP", "SETUID", "SYS_CHROOT" in securityContext.capabilities.add), runAsNonRoot != true '
        '(pod or container "service" must set securityContext.runAsNonRoot=true)',
        "  do     give it a user that is not root: user='1000:1000', where its image can run so",
        "         or use a namespace of a lower level: --isolate-namespace=NAME",
        "         it is declared at FOLDER/conftest.py:N",
    ]


def test_an_image_of_which_nothing_is_known_runs_as_it_is(project: Project) -> None:
    project.write("conftest.py", "web = service(IMAGE, port=8000, command=program('serve 8000 hello'))")
    project.write("test_it.py", TEST)
    result = project.run()
    assert result.returncode == 0
    assert "1 passed" in result.stdout
