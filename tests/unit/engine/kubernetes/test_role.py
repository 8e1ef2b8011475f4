"""Rights by feature: asked for all at once, told when they are missing, as a Role that kubectl takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from pytest_isolate.engine.kubernetes.objects.role import (
    BUDGET,
    FEATURES,
    LEASES,
    WATCH,
    MissingRights,
    Right,
    ask_permissions,
    build_review,
    build_role,
)

EVERY = {right for feature in FEATURES for right in feature.rights}
# Of actions-runner-controller, gha-runner-scale-set, templates/kube_mode_role.yaml.
ARC = {
    *(Right("pods", verb) for verb in ("get", "list", "create", "delete", "update", "patch")),
    *(Right("pods/exec", verb) for verb in ("get", "create")),
    *(Right("pods/log", verb) for verb in ("get", "list", "watch")),
    *(Right("secrets", verb) for verb in ("get", "list", "create", "delete")),
}


def server(allowed: set[Right]) -> Callable[[str, Mapping[str, Any]], Mapping[str, Any]]:
    """Answers reviews as an API server does."""

    def create(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        assert path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        asked = body["spec"]["resourceAttributes"]
        assert asked["namespace"] == "team"
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        return {"status": {"allowed": Right(resource, asked["verb"], asked["group"]) in allowed}}

    return create


def test_with_every_right_nothing_is_lacking() -> None:
    found = ask_permissions(server(EVERY), "team")
    assert (found.lacking, found.notes) == ((), ())
    assert found.allows(WATCH)


def test_the_role_of_arc_is_enough_and_what_it_lacks_is_told() -> None:
    found = ask_permissions(server(ARC), "team")
    assert not found.allows(WATCH)
    assert not found.allows(LEASES)
    assert found.notes == (
        "no rights to pods/portforward: create, get, so only tests in the cluster reach services",
        "no rights to services: create, delete, get, list, so tests in the cluster reach services at their Pods' own "
        "addresses, which are known only when these run",
        "no rights to pods: watch, so pods are asked again and again",
        "no rights to leases: create, delete, get, list, patch, so a Secret owns them, and a run that vanished with "
        "its machine is removed there only",
        "no rights to resourcequotas: get, list; limitranges: get, list, so a quota is noticed only when it is full",
    )


def test_all_rights_that_are_missing_are_named_at_once() -> None:
    with pytest.raises(MissingRights) as caught:
        ask_permissions(server({Right("pods", "get"), Right("pods", "list"), Right("pods/log", "get")}), "team")
    assert str(caught.value) == (
        "--isolate-engine=kubernetes lacks 9 rights in namespace 'team'\n"
        f"  tried  SelfSubjectAccessReview for {len(EVERY)} rights\n"
        "  found  pods: create, delete, patch, because services are pods\n"
        "         secrets: create, delete, get, list, because programs and variables of services, and networks, are "
        "Secrets\n"
        "         pods/exec: create, get, because start, stop, files and commands in services go by exec\n"
        "  do     have the Role applied, by one who may:\n"
        "         pytest-isolate kubernetes role --namespace=team | kubectl apply -f -"
    )


def test_a_right_to_a_part_of_a_kind_is_asked_for_as_such() -> None:
    asked = build_review(Right("pods/exec", "create"), "team")["spec"]["resourceAttributes"]
    assert (asked["resource"], asked["subresource"], asked["group"]) == ("pods", "exec", "")
    assert build_review(Right("leases", "get", "coordination.k8s.io"), "team")["spec"]["resourceAttributes"] == {
        "namespace": "team",
        "verb": "get",
        "group": "coordination.k8s.io",
        "resource": "leases",
    }


def test_the_role_has_every_right_once_and_its_binding() -> None:
    role, binding = yaml.safe_load_all(build_role("team", "runner"))
    rules = [
        (g, r, v) for rule in role["rules"] for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]
    ]
    assert sorted(rules) == sorted((right.group, right.resource, right.verb) for right in EVERY)
    assert (role["kind"], role["metadata"]) == ("Role", {"name": "pytest-isolate", "namespace": "team"})
    assert binding["roleRef"]["name"] == "pytest-isolate"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "runner", "namespace": "team"}]


def test_the_role_says_what_each_right_is_for() -> None:
    text = build_role("team")
    for feature in FEATURES:
        assert f"# {feature.name[0].upper()}{feature.name[1:]}.\n" in text
        assert (f"# Without: {feature.without}." in text) == bool(feature.without)


@pytest.mark.parametrize("minor", [33, 34, 35, 36, 37])
def test_role_and_binding_are_valid(minor: int) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="of the test dependencies").validate
    for made in yaml.safe_load_all(build_role("team")):
        validate(made, f"1.{minor}", strict=True)


def test_what_is_left_out_of_the_role_is_what_goes_without() -> None:
    needed = [feature for feature in FEATURES if feature not in (BUDGET, WATCH, LEASES)]
    (role, _) = yaml.safe_load_all(build_role("team", features=needed))
    assert "leases" not in str(role)
