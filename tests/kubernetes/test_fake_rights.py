"""Users of the fake API server and what they may do."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from fakes.programs import forever

from .calling import Api
from .conftest import Kubectl, Pods
from .fake.handle import FakeCluster

pytestmark = [pytest.mark.engine, pytest.mark.linux]

READER = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]


def account() -> str:
    return f"system:serviceaccount:tests:{secrets.token_hex(4)}"


def test_who_may_not_is_told_what(api: Api, fake_cluster: FakeCluster) -> None:
    user = account()
    mine = Api(fake_cluster.order("add_user", user=user, namespace=api.namespace, rules=READER)["kubeconfig"])
    assert mine.get("pods")["items"] == []
    code, status = mine.call("GET", "pods", watch="true")
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        f'pods is forbidden: User "{user}" cannot watch resource "pods" in API group "" '
        f'in the namespace "{api.namespace}"'
    )
    code, status = mine.call("DELETE", "leases/run")
    assert status["message"] == (
        f'leases.coordination.k8s.io "run" is forbidden: User "{user}" cannot delete resource "leases" '
        f'in API group "coordination.k8s.io" in the namespace "{api.namespace}"'
    )
    code, status = mine.call("GET", "/api/v1/namespaces")
    assert status["message"].endswith('cannot list resource "namespaces" in API group "" at the cluster scope')


def test_streams_have_rights_of_their_own(api: Api, fake_cluster: FakeCluster, pods: Pods) -> None:
    name = pods.run(forever())
    rules = [*READER, {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]
    mine = Api(fake_cluster.order("add_user", user=account(), namespace=api.namespace, rules=rules)["kubeconfig"])
    code, status = mine.call("GET", f"pods/{name}/log")
    assert code == 403
    assert 'cannot get resource "pods/log"' in status["message"]
    query = [("command", "true"), ("stdout", "true")]
    for version, expected in (((1, 34), 101), ((1, 35), 403)):
        fake_cluster.order("set_version", major=version[0], minor=version[1])
        socket = mine.websocket(f"pods/{name}/exec", "v5.channel.k8s.io", query)
        socket.close()
        fake_cluster.order("set_version", major=1, minor=34)
        assert socket.status == expected


def test_an_unknown_token_is_401(api: Api) -> None:
    code, status = api.call("GET", "pods", headers={"Authorization": "Bearer wrong"})
    assert (code, status["message"]) == (401, "Unauthorized")


def test_a_token_can_be_worth_nothing_any_longer(api: Api, fake_cluster: FakeCluster) -> None:
    user = account()
    old = Api(fake_cluster.order("add_user", user=user, namespace=api.namespace, rules=READER)["kubeconfig"])
    assert old.call("GET", "pods")[0] == 200
    fake_cluster.order("revoke_tokens", user=user)
    assert old.call("GET", "pods")[0] == 401
    new = Api(fake_cluster.order("add_user", user=user, namespace=api.namespace, rules=READER)["kubeconfig"])
    assert new.call("GET", "pods")[0] == 200


def test_who_shows_nothing_is_anonymous(api: Api) -> None:
    code, status = api.call("GET", "pods", headers={"Authorization": ""})
    assert code == 403
    assert 'User "system:anonymous" cannot list resource "pods"' in status["message"]


def test_a_certificate_is_a_user(api: Api, fake_cluster: FakeCluster) -> None:
    user = f"user-{secrets.token_hex(4)}"
    fake_cluster.order("add_user", user=user, namespace=api.namespace, rules=READER)
    mine = Api(fake_cluster.order("add_certificate", user=user, namespace=api.namespace)["kubeconfig"])
    assert mine.get("pods")["items"] == []
    assert f'User "{user}" cannot list resource "secrets"' in mine.call("GET", "secrets")[1]["message"]


@pytest.mark.parametrize(
    ("asked", "is_allowed"),
    [
        ({"verb": "list", "resource": "pods"}, True),
        ({"verb": "watch", "resource": "pods"}, False),
        ({"verb": "get", "resource": "pods", "subresource": "exec"}, False),
        ({"verb": "get", "group": "coordination.k8s.io", "resource": "leases"}, False),
    ],
)
def test_users_may_ask_what_they_may(api: Api, fake_cluster: FakeCluster, asked: Any, is_allowed: bool) -> None:
    mine = Api(fake_cluster.order("add_user", user=account(), namespace=api.namespace, rules=READER)["kubeconfig"])
    body = {"spec": {"resourceAttributes": {"namespace": api.namespace, **asked}}}
    code, review = mine.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert (code, review["status"]["allowed"]) == (201, is_allowed)


def test_a_role_and_its_binding_give_rights(
    api: Api, kubectl: Kubectl, fake_cluster: FakeCluster, namespace: str
) -> None:
    kubectl("create", "serviceaccount", "job")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    user = f"system:serviceaccount:{namespace}:job"
    mine = Api(fake_cluster.order("add_user", user=user, namespace=namespace, rules=[])["kubeconfig"])
    assert mine.call("GET", "pods")[0] == 403
    kubectl("create", "rolebinding", "job-reads", "--role=reader", f"--serviceaccount={namespace}:job")
    assert mine.call("GET", "pods")[0] == 200


def test_kubectl_can_ask_too(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods").stdout.strip() == "yes"
    token = kubectl("create", "token", "default").stdout.strip()
    assert len(token) > 30
