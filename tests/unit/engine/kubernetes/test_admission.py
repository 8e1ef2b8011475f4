"""Refusals of a cluster as users read them: the cluster's own words whole, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.objects.admission import NoRoomYet, explain_refusal, find_trouble
from pytest_isolate.errors import EngineError, ImageNotFound

REQUEST = ContainerRequest(name="isolate-3f2a-db", image="postgres:16", labels={})
USER = 'User "system:serviceaccount:team:ci"'


def refused(message: str, *, status: int = 403, reason: str = "Forbidden") -> EngineError:
    error = ApiError(
        "the API server refused to create pods in namespace 'team'", status=status, reason=reason, message=message
    )
    return explain_refusal(error, REQUEST, "team")


def pod(**status: Any) -> dict[str, Any]:
    spec = {"nodeSelector": {"kubernetes.io/arch": "amd64"}, "containers": [{"image": "postgres:99"}]}
    return {"metadata": {"name": "isolate-3f2a-db-1"}, "spec": spec, "status": {"phase": "Pending", **status}}


def waiting(reason: str, message: str, of: str = "containerStatuses") -> dict[str, Any]:
    return pod(**{of: [{"state": {"waiting": {"reason": reason, "message": message}}}]})


# -- the five of which users have to make something ----------------------------------------------------------------


def test_a_namespace_that_allows_nothing() -> None:
    text = f'pods is forbidden: {USER} cannot create resource "pods" in API group "" in the namespace "team"'
    assert str(refused(text)) == (
        "container isolate-3f2a-db was refused in namespace 'team'\n"
        f"  found  {text}\n"
        "  do     ask for the missing right: `pytest-isolate kubernetes role` prints the Role to apply"
    )


def test_a_quota_that_is_full() -> None:
    text = (
        'pods "isolate-3f2a-db-1" is forbidden: exceeded quota: ci, requested: limits.memory=2Gi, used: '
        "limits.memory=7Gi, limited: limits.memory=8Gi"
    )
    error = refused(text)
    assert isinstance(error, NoRoomYet)
    assert str(error) == (
        "container isolate-3f2a-db has no room in namespace 'team': its quota is full\n"
        "  tried  create its pod\n"
        f"  found  {text}\n"
        "  do     end what else runs there: kubectl -n team get pods; or have the quota raised\n"
        "         memory= and cpus= of the service say what it asks for"
    )
    assert str(error.after(300)) == (
        "container isolate-3f2a-db has no room in namespace 'team': its quota is full\n"
        "  tried  create its pod, for 300 s\n"
        f"  found  {text}\n"
        "  do     end what else runs there: kubectl -n team get pods; or have the quota raised\n"
        "         memory= and cpus= of the service say what it asks for\n"
        "         where room comes later, as from an autoscaler, wait longer: --isolate-pod-wait=10m"
    )


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_is_not_there(reason: str) -> None:
    text = (
        'failed to pull and unpack image "docker.io/library/postgres:99": failed to resolve reference '
        '"docker.io/library/postgres:99": docker.io/library/postgres:99: not found'
    )
    trouble = find_trouble(waiting(reason, text), "isolate-3f2a-db")
    assert trouble
    assert trouble.is_final
    assert isinstance(trouble.error, ImageNotFound)
    assert str(trouble.error) == (
        "image postgres:99 could not be pulled: its registry has no such image\n"
        f"  found  {reason}: {text}\n"
        "  do     check name and tag; where it is only on this machine, load it: kind load docker-image, "
        "k3d image import"
    )


def test_a_node_that_never_comes() -> None:
    text = "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available."
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}]
    trouble = find_trouble(pod(conditions=conditions), "isolate-3f2a-db")
    assert trouble
    assert not trouble.is_final
    assert isinstance(trouble.error, NoRoomYet)
    assert str(trouble.error) == (
        "container isolate-3f2a-db has no node: none of the cluster's can take it\n"
        "  tried  nodes with kubernetes.io/arch=amd64\n"
        f"  found  {text}\n"
        "  do     give the cluster more nodes, or end what else runs there\n"
        "         memory= and cpus= of the service say what it asks for; tolerations and nodeSelector of "
        "--isolate-pod-template say where it may run"
    )


def test_a_restricted_namespace_with_an_image_of_root() -> None:
    text = (
        'pods "isolate-3f2a-db-1" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities '
        '(container "service" must set securityContext.capabilities.drop=["ALL"]; container "service" must not include '
        '"CHOWN" in securityContext.capabilities.add), runAsNonRoot != true (pod or container "service" must set '
        "securityContext.runAsNonRoot=true)"
    )
    assert str(refused(text)) == (
        "container isolate-3f2a-db was refused in namespace 'team': it is against its Pod Security level "
        "'restricted'\n"
        f"  found  {text}\n"
        "  do     give it a user that is not root: user='1000:1000', where its image can run so\n"
        "         or use a namespace of a lower level: --isolate-namespace=NAME"
    )


@pytest.mark.parametrize(
    "text",
    [
        'container has runAsNonRoot and image will run as root (pod: "x", container: service)',
        "container has runAsNonRoot and image has non-numeric user (postgres), cannot verify user is non-root",
    ],
)
def test_an_image_of_root_that_its_node_refuses(text: str) -> None:
    trouble = find_trouble(waiting("CreateContainerConfigError", text), "isolate-3f2a-db")
    assert trouble
    assert trouble.is_final
    assert str(trouble.error) == (
        "container isolate-3f2a-db may not run as root here, and its image does\n"
        f"  found  CreateContainerConfigError: {text}\n"
        "  do     give it a user that is not root: user='1000:1000', where its image can run so"
    )


# -- further refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason", "do"),
    [
        (
            'pods "x" is forbidden: failed quota: ci: must specify limits.cpu for: service; requests.cpu for: service',
            "its quota wants limits to be named",
            "declare memory= and cpus=",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
            "it is against its LimitRange",
            "memory= and cpus=",
        ),
        (
            'pods "x" is forbidden: memory max limit to request ratio per Container is 2, but provided ratio is 8.0',
            "it is against its LimitRange",
            "memory= and cpus=",
        ),
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: label team is required',
            "a policy of the cluster is against it",
            "--isolate-pod-template=FILE",
        ),
        (
            'pods "x" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container '
            '"service" must not include "NET_ADMIN" in securityContext.capabilities.add)',
            "it is against its Pod Security level 'baseline'",
            "leave out cap_add=",
        ),
        (
            'pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged (container "service" must not '
            "set securityContext.privileged=true)",
            "it is against its Pod Security level 'baseline'",
            "leave out privileged",
        ),
    ],
)
def test_the_policy_is_named_and_its_words_are_whole(text: str, reason: str, do: str) -> None:
    written = str(refused(text))
    assert written.splitlines()[0].endswith(reason)
    assert f"  found  {text}\n" in written
    assert do in written


def test_a_refusal_for_another_reason_is_left_as_it_is() -> None:
    error = refused('Pod "x" is invalid: spec.hostname: Invalid value', status=422, reason="Invalid")
    assert isinstance(error, ApiError)
    assert "spec.hostname: Invalid value" in str(error)


def test_a_name_that_is_taken() -> None:
    assert "already in use" in str(refused('pods "x" already exists', status=409, reason="AlreadyExists"))


# -- further troubles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "text", "said", "is_final"),
    [
        ("ErrImagePull", "429 Too Many Requests: toomanyrequests", "its registry is asked too often", False),
        ("ErrImagePull", "unauthorized: authentication required", "gives the node no access", True),
        ("ErrImagePull", "dial tcp: i/o timeout", "its node does not get it", False),
        ("ImagePullBackOff", 'Back-off pulling image "postgres:99"', "its node does not get it", False),
        ("ErrImageNeverPull", 'Container image "x" is not present', "may not pull", True),
        ("InvalidImageName", "couldn't parse image name", "its name is none", True),
    ],
)
def test_pulls_that_may_yet_succeed_are_waited_for(reason: str, text: str, said: str, is_final: bool) -> None:
    for of in ("containerStatuses", "initContainerStatuses"):
        trouble = find_trouble(waiting(reason, text, of), "db")
        assert trouble
        assert (said in str(trouble.error), f"{reason}: {text}" in str(trouble.error)) == (True, True)
        assert trouble.is_final == is_final


def test_an_image_of_another_machine() -> None:
    ended = {"reason": "StartError", "message": "exec /.isolate/first: exec format error", "exitCode": 128}
    trouble = find_trouble(pod(containerStatuses=[{"state": {"terminated": ended}}]), "db")
    assert trouble
    assert "its image is not for amd64" in str(trouble.error)


@pytest.mark.parametrize(
    ("reason", "do"),
    [("Evicted", "declare memory="), ("DeadlineExceeded", "longer than a day"), ("NodeShutdown", "kubectl get events")],
)
def test_a_pod_that_the_cluster_ended(reason: str, do: str) -> None:
    trouble = find_trouble(pod(phase="Failed", reason=reason, message="words"), "db")
    assert trouble
    assert trouble.is_final
    assert f"{reason}: words" in str(trouble.error)
    assert do in str(trouble.error)


@pytest.mark.parametrize(
    "found",
    [
        pod(),
        pod(phase="Running", containerStatuses=[{"state": {"running": {"startedAt": "2026-11-30T18:00:00Z"}}}]),
        waiting("ContainerCreating", ""),
        waiting("PodInitializing", ""),
        pod(phase="Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]),
    ],
)
def test_a_pod_that_takes_its_time_has_no_trouble(found: dict[str, Any]) -> None:
    assert find_trouble(found, "db") is None
