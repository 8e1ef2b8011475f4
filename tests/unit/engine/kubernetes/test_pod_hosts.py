"""Tables of hosts of pods on networks that are names."""

from __future__ import annotations

import json
from typing import Any

from pytest_isolate.engine.kubernetes.objects.pod_hosts import (
    build_hosts,
    describe_networks,
    read_networks,
    select_members,
)


def pod(name: str, address: str, networks: dict[str, list[str]], **more: Any) -> dict[str, Any]:
    described = describe_networks(networks)
    annotations = {**described["annotations"], **more.pop("annotations", {})}
    metadata = {"name": name, "labels": described["labels"], "annotations": annotations}
    return {"metadata": metadata, "spec": more, "status": {"podIP": address} if address else {}}


def table(of: dict[str, Any], *others: dict[str, Any]) -> list[list[str]]:
    return [line.split("\t") for line in build_hosts(of, others).splitlines()]


def test_a_pod_knows_itself_and_its_neighbours_by_every_name() -> None:
    web, db = pod("web", "10.0.0.1", {"net": ["web"]}), pod("db", "10.0.0.2", {"net": ["my_Db", "my-db"]})
    assert table(web, web, db) == [
        ["127.0.0.1", "localhost"],
        ["::1", "localhost ip6-localhost ip6-loopback"],
        ["10.0.0.1", "web"],
        ["10.0.0.2", "my_Db my-db"],
    ]


def test_names_are_those_of_networks_that_both_are_on() -> None:
    one = pod("one", "10.0.0.1", {"a": ["one"]})
    other = pod("other", "10.0.0.2", {"a": ["near"], "b": ["far"]})
    stranger = pod("stranger", "10.0.0.3", {"b": ["stranger"]})
    assert table(one, other, stranger)[3:] == [["10.0.0.2", "near"]]
    assert table(other, one, stranger)[3:] == [["10.0.0.1", "one"], ["10.0.0.3", "stranger"]]


def test_what_has_no_address_or_no_name_yet_is_left_out() -> None:
    one = pod("one", "10.0.0.1", {"a": []})
    assert table(one, pod("late", "", {"a": ["late"]}), pod("mute", "10.0.0.3", {"a": []}))[3:] == []


def test_a_host_name_and_declared_hosts_are_known() -> None:
    declared = {"pytest-isolate/hosts": "10.9.8.7 Legacy_Db\n::2 six"}
    one = pod("one", "10.0.0.1", {}, hostname="db-1", annotations=declared)
    assert table(one)[2:] == [["10.0.0.1", "db-1"], ["10.9.8.7", "Legacy_Db"], ["::2", "six"]]


def test_membership_stands_on_the_pod_and_goes_with_its_label() -> None:
    found = describe_networks({"a": ["x"]}, left=("b", "a"))
    assert found["labels"] == {"net.pytest-isolate/a": "", "net.pytest-isolate/b": None}
    assert json.loads(found["annotations"]["pytest-isolate/networks"]) == {"a": ["x"]}
    assert read_networks({"metadata": {"annotations": found["annotations"]}}) == {"a": ["x"]}
    assert read_networks({"metadata": {}}) == {}
    assert select_members("a") == {"labelSelector": "net.pytest-isolate/a"}
