"""Admission of the fake cluster: it lets in, changes and refuses, with the texts of the real one."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from fakes.programs import IMAGE, forever
from waiting import wait_for

from .calling import Api
from .conftest import Pods
from .fake.handle import FakeCluster

pytestmark = [pytest.mark.engine, pytest.mark.linux]
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name: str = "one", *, spec: Any = None, **container: Any) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "1000"], **container}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **(spec or {})}}


def limits(**amounts: str) -> dict[str, Any]:
    return {"resources": {"limits": amounts}}


def quota(**hard: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "quota"},
        "spec": {"hard": {key.replace("_", "."): text for key, text in hard.items()}},
    }


def limit_range(**facts: Any) -> dict[str, Any]:
    return {"metadata": {"name": "limits"}, "spec": {"limits": [{"type": "Container", **facts}]}}


@pytest.fixture
def secured(fake_cluster: FakeCluster) -> Any:
    """A function that makes a namespace of a level."""

    def make(level: str) -> Api:
        name = f"test-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": level}
        fake_cluster.order("add_namespace", name=name, labels=labels)
        return Api(fake_cluster.kubeconfig, name)

    return make


def test_restricted_names_all_that_is_wrong(secured: Any) -> None:
    code, status = secured("restricted").call("POST", "pods", pod())
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        'pods "one" is forbidden: violates PodSecurity "restricted:latest": '
        'allowPrivilegeEscalation != false (container "main" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "main" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "main" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "main" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")'
    )


def test_restricted_lets_in_what_is_safe(secured: Any) -> None:
    api = secured("restricted")
    api.create("pods", pod(securityContext=SAFE))
    _, status = api.call("POST", "pods", pod("two", securityContext={**SAFE, "runAsUser": 0}))
    assert status["message"].endswith('runAsUser=0 (container "main" must not set runAsUser=0)')
    api.call("DELETE", "pods", gracePeriodSeconds=0)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            pod(securityContext={"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
            'non-default capabilities (container "main" must not include "NET_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (
            pod(securityContext={"privileged": True}),
            'privileged (container "main" must not set securityContext.privileged=true)',
        ),
        (pod(spec={"hostNetwork": True}), "host namespaces (hostNetwork=true)"),
        (
            pod(spec={"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
            'hostPath volumes (volume "host")',
        ),
        (pod(ports=[{"containerPort": 80, "hostPort": 80}]), 'hostPort (container "main" uses hostPort 80)'),
        (
            pod(spec={"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}}),
            "forbidden sysctls (net.core.somaxconn)",
        ),
    ],
)
def test_baseline_refuses_what_reaches_the_node(secured: Any, body: Any, text: str) -> None:
    code, status = secured("baseline").call("POST", "pods", body)
    assert (code, status["message"]) == (
        403,
        f'pods "one" is forbidden: violates PodSecurity "baseline:latest": {text}',
    )


def test_a_full_quota_says_what_was_asked_and_what_is_used(api: Api) -> None:
    api.create("resourcequotas", quota(limits_memory="100Mi", pods="5"))
    api.create("pods", pod("one", **limits(memory="64Mi")))
    code, status = api.call("POST", "pods", pod("two", **limits(memory="40Mi")))
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        'pods "two" is forbidden: exceeded quota: quota, requested: limits.memory=40Mi, used: limits.memory=64Mi, '
        "limited: limits.memory=100Mi"
    )
    _, status = api.call("POST", "pods", pod("two"))
    assert status["message"] == 'pods "two" is forbidden: failed quota: quota: must specify limits.memory for: main'
    assert api.get("resourcequotas/quota")["status"]["used"] == {"limits.memory": "64Mi", "pods": "1"}


def test_a_quota_has_room_again_when_a_pod_has_ended(api: Api, pods: Pods) -> None:
    api.create("resourcequotas", quota(pods="1", services="1"))
    name = pods.create(["sh", "-c", "sleep 1"])
    _, status = api.call("POST", "pods", pod("two"))
    assert "exceeded quota: quota, requested: pods=1, used: pods=1, limited: pods=1" in status["message"]
    pods.wait_for(name, "terminated")
    api.create("pods", pod("two"))
    service = {"spec": {"ports": [{"port": 80}]}}
    api.create("services", {"metadata": {"name": "one"}, **service})
    _, status = api.call("POST", "services", {"metadata": {"name": "two"}, **service})
    assert "exceeded quota: quota, requested: services=1, used: services=1, limited: services=1" in status["message"]


def test_a_limit_range_writes_its_limits_into_pods(
    api: Api, pods: Pods, fake_cluster: FakeCluster, docker_client: Any
) -> None:
    api.create("limitranges", limit_range(default={"memory": "48Mi"}, defaultRequest={"memory": "16Mi"}))
    name = pods.run(forever())
    resources = pods.get(name)["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"memory": "48Mi"}, "requests": {"memory": "16Mi"}}
    assert "memory limit for container main" in pods.get(name)["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    docker_id = fake_cluster.order("containers", namespace=api.namespace, pod=name)["main"]
    assert docker_client.inspect_container(docker_id)["HostConfig"]["Memory"] == 48 * 2**20


def test_a_limit_range_refuses_what_is_too_much(api: Api) -> None:
    api.create("limitranges", limit_range(max={"memory": "100Mi"}))
    code, status = api.call("POST", "pods", pod(**limits(memory="200Mi")))
    text = 'pods "one" is forbidden: maximum memory usage per Container is 100Mi, but limit is 200Mi'
    assert (code, status["message"]) == (403, text)


def test_a_service_account_that_is_not_there(api: Api) -> None:
    code, status = api.call("POST", "pods", pod(spec={"serviceAccountName": "none"}))
    where = f"error looking up service account {api.namespace}/none"
    assert (code, status["message"]) == (
        403,
        f'pods "one" is forbidden: {where}: serviceaccount "none" not found',
    )


def test_a_namespace_goes_with_all_that_is_in_it(api: Api, pods: Pods) -> None:
    pods.run(forever())
    api.create("configmaps", {"metadata": {"name": "one"}})
    code, gone = api.call("DELETE", f"/api/v1/namespaces/{api.namespace}")
    assert (code, gone["status"]["phase"]) == (200, "Terminating")
    code, status = api.call("POST", "configmaps", {"metadata": {"name": "two"}})
    assert code == 403
    assert (
        f"unable to create new content in namespace {api.namespace} because it is being terminated" in status["message"]
    )
    wait_for(lambda: api.call("GET", f"/api/v1/namespaces/{api.namespace}")[0] == 404)
    assert api.get("configmaps")["items"] == []
