"""Objects of the fake API server: verbs, names, selectors, owners, grace."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.programs import forever
from waiting import wait_for

from .calling import Api
from .conftest import Pods

pytestmark = [pytest.mark.engine, pytest.mark.linux]


def lease(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "spec": {"holderIdentity": "me"}}


def config_map(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "data": {"key": "value"}}


def pod(**facts: Any) -> dict[str, Any]:
    """A Pod; facts that are no Pod's are its container's."""
    spec = {key: facts.pop(key) for key in ("volumes", "activeDeadlineSeconds") if key in facts}
    return {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "a", **facts}], **spec}}


def owner(of: dict[str, Any], uid: str = "") -> dict[str, str]:
    meta = of["metadata"]
    return {"apiVersion": of["apiVersion"], "kind": of["kind"], "name": meta["name"], "uid": uid or meta["uid"]}


def test_what_is_made_has_what_the_server_writes(api: Api) -> None:
    made = api.create("leases", lease("run"))
    assert made["kind"] == "Lease"
    assert made["metadata"]["uid"]
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert made["metadata"]["namespace"] == api.namespace
    assert api.get("leases/run") == made


def test_a_second_of_the_same_name_is_a_conflict(api: Api) -> None:
    api.create("configmaps", config_map("one"))
    code, status = api.call("POST", "configmaps", config_map("one"))
    assert (code, status["reason"]) == (409, "AlreadyExists")
    assert status["message"] == 'configmaps "one" already exists'


def test_what_is_not_there_is_404(api: Api) -> None:
    code, status = api.call("GET", "leases/none")
    assert (code, status["reason"]) == (404, "NotFound")
    assert status["message"] == 'leases.coordination.k8s.io "none" not found'
    code, status = api.call("POST", "/api/v1/namespaces/nowhere/pods", {"metadata": {"name": "a"}})
    assert status["message"] == 'namespaces "nowhere" not found'


def test_a_merge_patch_takes_away_and_adds(api: Api) -> None:
    api.create("configmaps", config_map("one", labels={"a": "1", "b": "2"}))
    code, changed = api.patch("configmaps/one", {"metadata": {"labels": {"a": None, "c": "3"}}})
    assert code == 200
    assert changed["metadata"]["labels"] == {"b": "2", "c": "3"}


def test_an_update_from_an_older_version_is_a_conflict(api: Api) -> None:
    old = api.create("leases", lease("run"))
    api.patch("leases/run", {"spec": {"holderIdentity": "you"}})
    code, status = api.call("PUT", "leases/run", old)
    assert (code, status["reason"]) == (409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in status["message"]


def test_a_lease_is_replaced_by_its_version_alone(api: Api) -> None:
    made = api.create("leases", lease("run"))
    code, status = api.call("PUT", "leases/run", lease("run"))
    assert (code, status["message"]) == (
        422,
        'Lease.coordination.k8s.io "run" is invalid: metadata.resourceVersion: Invalid value: 0x0: '
        "must be specified for an update",
    )
    assert api.call("PUT", "leases/run", made)[0] == 200
    code, status = api.patch("leases/run", {"spec": {"renewTime": "2026-01-02T03:04:05Z"}})
    assert code == 400
    assert api.patch("leases/run", {"spec": {"renewTime": "2026-01-02T03:04:05.000000Z"}})[0] == 200


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("kind=a", ["one"]),
        ("kind!=a", ["three", "two"]),
        ("kind in (a,b)", ["one", "two"]),
        ("kind notin (a)", ["three", "two"]),
        ("kind", ["one", "two"]),
        ("!kind", ["three"]),
        ("kind==b,size=2", ["two"]),
    ],
)
def test_selectors_of_labels(api: Api, selector: str, found: list[str]) -> None:
    for name, labels in (("one", {"kind": "a"}), ("two", {"kind": "b", "size": "2"}), ("three", {})):
        api.create("configmaps", config_map(name, labels=labels))
    items = api.get("configmaps", labelSelector=selector)["items"]
    assert [one["metadata"]["name"] for one in items] == found


def test_selectors_of_fields_and_pages(api: Api) -> None:
    for name in ("one", "two", "three"):
        api.create("configmaps", config_map(name))
    items = api.get("configmaps", fieldSelector="metadata.name=two")["items"]
    assert [one["metadata"]["name"] for one in items] == ["two"]
    page = api.get("configmaps", limit=2)
    rest = api.get("configmaps", limit=2, **{"continue": page["metadata"]["continue"]})
    assert [one["metadata"]["name"] for one in page["items"] + rest["items"]] == ["one", "three", "two"]
    assert "continue" not in rest["metadata"]


@pytest.mark.parametrize(
    ("resource", "body", "text"),
    [
        (
            "pods",
            {"metadata": {"name": "Big_One"}},
            'metadata.name: Invalid value: "Big_One": a lowercase RFC 1123 subd',
        ),
        (
            "services",
            {"metadata": {"name": "1st"}, "spec": {"ports": [{"port": 1}]}},
            "a DNS-1035 label must consist of",
        ),
        ("configmaps", config_map("a", labels={"a": "x" * 64}), "must be no more than 63"),
        ("configmaps", config_map("a", labels={"a": "b c"}), "a valid label must be an empty string or consist of"),
        ("configmaps", config_map("a", labels={"a b": "c"}), "name part must consist of alphanumeric characters"),
        ("secrets", {"metadata": {"name": "a"}, "data": {"a/b": ""}}, "a valid config key must consist of"),
        ("secrets", {"metadata": {"name": "a"}, "data": {"a": "AAAA" * 400_000}}, "may not be more than 1048576 bytes"),
        ("pods", {"metadata": {"name": "a"}, "spec": {}}, "spec.containers: Required value"),
        ("configmaps", {"metadata": {}}, "name or generateName is required"),
        ("leases", {"metadata": {"name": "a"}, "spec": {"leaseDurationSeconds": 0}}, "must be greater than 0"),
        (
            "pods",
            pod(volumes=[{"name": "Own", "emptyDir": {}}]),
            'spec.volumes[0].name: Invalid value: "Own": a lowercase RFC 1123 label must consist of',
        ),
        (
            "pods",
            pod(volumeMounts=[{"name": "none", "mountPath": "/a"}]),
            'spec.containers[0].volumeMounts[0].name: Not found: "none"',
        ),
        (
            "pods",
            pod(volumes=[{"name": "own"}], volumeMounts=[{"name": "own", "mountPath": "/a:b"}]),
            "must not contain ':'",
        ),
        (
            "pods",
            pod(volumes=[{"name": "own"}], volumeMounts=[{"name": "own", "mountPath": "/a", "subPath": "../b"}]),
            "must not contain '..'",
        ),
        (
            "pods",
            pod(resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}),
            'requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi',
        ),
        ("pods", pod(activeDeadlineSeconds=0), "must be between 1 and 2147483647, inclusive"),
        ("pods", pod(ports=[{"containerPort": 70000}]), "must be between 1 and 65535, inclusive"),
        ("pods", pod(env=[{"name": "a=b", "value": "c"}]), "a valid environment variable name must consist only of"),
    ],
)
def test_what_breaks_a_rule_is_422(api: Api, resource: str, body: Any, text: str) -> None:
    code, status = api.call("POST", resource, body)
    assert (code, status["reason"]) == (422, "Invalid")
    assert text in status["message"]


@pytest.mark.parametrize("name", ["under_score", "Capital"])
def test_host_aliases_refuse_names_that_are_no_host_names(api: Api, name: str) -> None:
    spec = {
        "containers": [{"name": "main", "image": "a"}],
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": [name]}],
    }
    code, status = api.call("POST", "pods", {"metadata": {"name": "a"}, "spec": spec})
    assert code == 422
    assert f'spec.hostAliases[0].hostnames[0]: Invalid value: "{name}"' in status["message"]


def test_a_pod_keeps_its_spec(api: Api, pods: Pods) -> None:
    name = pods.create(forever())
    code, status = api.patch(f"pods/{name}", {"spec": {"restartPolicy": "Always"}})
    assert code == 422
    assert "pod updates may not change fields other than" in status["message"]
    code, _ = api.patch(f"pods/{name}", {"metadata": {"labels": {"new": "label"}}})
    assert code == 200


def test_what_is_owned_goes_with_its_owner(api: Api, pods: Pods) -> None:
    run = api.create("leases", lease("run"))
    api.create("configmaps", config_map("owned", ownerReferences=[owner(run)]))
    api.create("configmaps", config_map("free"))
    name = pods.run(forever(), meta={"ownerReferences": [owner(run)]})
    assert api.call("DELETE", "leases/run")[0] == 200
    wait_for(lambda: api.call("GET", f"pods/{name}")[0] == 404)
    wait_for(lambda: api.call("GET", "configmaps/owned")[0] == 404)
    assert api.call("GET", "configmaps/free")[0] == 200


def test_a_wrong_uid_of_an_owner_removes_an_object(api: Api) -> None:
    run = api.create("leases", lease("run"))
    api.create("configmaps", config_map("right", ownerReferences=[owner(run)]))
    api.create("configmaps", config_map("wrong", ownerReferences=[owner(run, uid="not-that-one")]))
    wait_for(lambda: api.call("GET", "configmaps/wrong")[0] == 404)
    assert api.call("GET", "configmaps/right")[0] == 200


def test_an_orphan_stays(api: Api) -> None:
    run = api.create("leases", lease("run"))
    api.create("configmaps", config_map("orphan", ownerReferences=[owner(run)]))
    api.call("DELETE", "leases/run", {"propagationPolicy": "Orphan"})
    api.create("configmaps", config_map("wrong", ownerReferences=[owner(run)]))
    wait_for(lambda: api.call("GET", "configmaps/wrong")[0] == 404)
    assert api.get("configmaps/orphan")["metadata"].get("ownerReferences", []) == []


def test_a_name_is_free_when_its_pod_is_gone(api: Api, pods: Pods) -> None:
    name = pods.run(["sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"], terminationGracePeriodSeconds=20)
    code, marked = api.call("DELETE", f"pods/{name}")
    assert code == 200
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
    body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "a"}]}}
    code, status = api.call("POST", "pods", body)
    assert (code, status["reason"]) == (409, "AlreadyExists")
    assert status["message"] == f'object is being deleted: pods "{name}" already exists'
    api.call("DELETE", f"pods/{name}", gracePeriodSeconds=0)
    assert api.call("GET", f"pods/{name}")[0] == 404


def test_a_collection_goes_by_its_labels(api: Api) -> None:
    for name, labels in (("one", {"run": "a"}), ("two", {"run": "a"}), ("three", {"run": "b"})):
        api.create("configmaps", config_map(name, labels=labels))
    assert api.call("DELETE", "configmaps", labelSelector="run=a")[0] == 200
    assert [one["metadata"]["name"] for one in api.get("configmaps")["items"]] == ["three"]


def test_a_precondition_protects_another_object_of_the_same_name(api: Api) -> None:
    api.create("configmaps", config_map("one"))
    code, status = api.call("DELETE", "configmaps/one", {"preconditions": {"uid": "other"}})
    assert code == 409
    assert "Precondition failed: UID in precondition: other" in status["message"]


def test_texts_of_a_secret_are_encoded(api: Api) -> None:
    made = api.create("secrets", {"metadata": {"name": "one"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}})
    assert made["data"] == {"a": "Yg==", "c": "ZA=="}
    assert "stringData" not in made


def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    code, status = api.call("POST", "configmaps", {"metadata": {"name": "a"}, "data": {"a": "x" * 3_200_000}})
    assert code == 413
    assert "Request entity too large: limit is 3145728" in status["message"]
