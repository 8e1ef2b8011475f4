"""Watches of the fake API server, with what is unpleasant about them, and other faults."""

from __future__ import annotations

import http.client
import ssl
import time
from contextlib import closing
from typing import Any

import pytest
from waiting import wait_for

from .calling import Api
from .fake.handle import FakeCluster

pytestmark = [pytest.mark.engine, pytest.mark.linux]


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def name_of(event: Any) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def test_a_watch_tells_what_changes_from_a_version_on(api: Api) -> None:
    api.create("configmaps", config_map("before"))
    version = api.get("configmaps")["metadata"]["resourceVersion"]
    api.create("configmaps", config_map("one"))
    api.patch("configmaps/one", {"data": {"a": "b"}})
    api.call("DELETE", "configmaps/one")
    with closing(api.watch("configmaps", resourceVersion=version)) as events:
        told = [name_of(next(events)) for _ in range(3)]
    assert told == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


def test_a_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    api.create("configmaps", config_map("before"))
    with closing(api.watch("configmaps")) as events:
        assert name_of(next(events)) == ("ADDED", "before")


def test_what_is_selected_no_longer_is_deleted_to_a_watch(api: Api) -> None:
    version = api.get("configmaps")["metadata"]["resourceVersion"]
    api.create("configmaps", config_map("one", run="a"))
    api.create("configmaps", config_map("two", run="b"))
    api.patch("configmaps/one", {"metadata": {"labels": {"run": "b"}}})
    with closing(api.watch("configmaps", resourceVersion=version, labelSelector="run=a")) as events:
        assert [name_of(next(events)) for _ in range(2)] == [("ADDED", "one"), ("DELETED", "one")]


@pytest.mark.parametrize("lag_s", [1.2, 2.4])
def test_a_watch_is_late(api: Api, fake_cluster: FakeCluster, lag_s: float) -> None:
    fake_cluster.order("set_watch_lag", seconds=lag_s)
    version = api.get("configmaps")["metadata"]["resourceVersion"]
    with closing(api.watch("configmaps", resourceVersion=version)) as events:
        changed = time.monotonic()
        api.create("configmaps", config_map("one"))
        assert api.call("GET", "configmaps/one")[0] == 200
        next(events)
        late_s = time.monotonic() - changed
    fake_cluster.order("set_watch_lag", seconds=1.2)
    assert late_s >= lag_s - 0.1


def test_a_watch_from_too_long_ago_is_told_so(api: Api, fake_cluster: FakeCluster) -> None:
    version = api.get("configmaps")["metadata"]["resourceVersion"]
    fake_cluster.order("expire")
    with closing(api.watch("configmaps", resourceVersion=version)) as events:
        event = next(events)
        assert next(events, None) is None
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith(f"too old resource version: {version} (")


def test_a_watch_ends_after_its_time(api: Api) -> None:
    with closing(api.watch("configmaps", timeoutSeconds=1)) as events:
        assert list(events) == []


def test_too_many_requests_are_refused_for_a_while(api: Api, fake_cluster: FakeCluster) -> None:
    fake_cluster.order("add_fault", code=429, verb="list", resource="resourcequotas", times=2, retry_after_s=3)
    for _ in range(2):
        with api.request("GET", api.path("resourcequotas")) as answer:
            assert answer.status == 429
            assert answer.getheader("Retry-After") == "3"
    assert api.call("GET", "resourcequotas")[0] == 200
    assert fake_cluster.order("counts")["pending_faults"] == []


@pytest.mark.parametrize("is_done", [False, True])
def test_a_connection_is_cut_before_or_after_the_work(api: Api, fake_cluster: FakeCluster, is_done: bool) -> None:
    fake_cluster.order("add_fault", code=0, verb="create", resource="leases", is_done=is_done)
    with pytest.raises((ConnectionError, http.client.HTTPException, ssl.SSLError)):
        api.create("leases", {"metadata": {"name": "one"}})
    assert api.call("GET", "leases/one")[0] == (200 if is_done else 404)


def test_a_server_whose_cache_is_cold_refuses_lists(api: Api, fake_cluster: FakeCluster) -> None:
    fake_cluster.order("stop")
    fake_cluster.order("start", warming_s=2)
    code, status = api.call("GET", "leases")
    assert (code, status["message"]) == (429, "storage is (re)initializing")
    api.create("leases", {"metadata": {"name": "one"}})
    wait_for(lambda: api.call("GET", "leases")[0] == 200)


def test_requests_are_counted_by_verb_and_resource(api: Api, fake_cluster: FakeCluster) -> None:
    before = fake_cluster.order("counts")["requests"]
    api.create("leases", {"metadata": {"name": "one"}})
    for _ in range(3):
        api.get("leases/one")
    after = fake_cluster.order("counts")["requests"]
    assert after["create leases"] == before.get("create leases", 0) + 1
    assert after["get leases"] == before.get("get leases", 0) + 3


def test_a_server_that_restarts_has_all_that_it_had(api: Api, fake_cluster: FakeCluster) -> None:
    made = api.create("configmaps", config_map("kept"))
    with closing(api.watch("configmaps")) as events:
        next(events)
        fake_cluster.order("stop")
        with pytest.raises(OSError):  # noqa: PT011  # refused, on each system with its own words
            api.connect()
        assert next(events, None) is None
    fake_cluster.order("start")
    assert api.get("configmaps/kept") == made
