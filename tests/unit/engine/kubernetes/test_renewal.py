"""Leases of runs: renewed while somebody is there, and stale when nobody was for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from waiting import wait_for

from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.lifetime import renewal
from pytest_isolate.engine.kubernetes.lifetime.renewal import Renewal, find_abandoned, moment_now
from pytest_isolate.engine.kubernetes.objects.manifests import build_run
from pytest_isolate.engine.kubernetes.pods import read_moment
from pytest_isolate.model.identity import LABEL_REUSE, LABEL_RUN

from .served import Answer, Request, Served, answer, refusal

PATH = "/apis/coordination.k8s.io/v1/namespaces/team/leases/run"
LONG_AGO = "2026-01-01T00:00:00.000000Z"


@contextmanager
def renewing(said: Answer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(renewal, "_EVERY_S", 0.05)

    def says(_: Request) -> Answer:
        return said

    with (
        Served(says) as server,
        closing(ClusterClient(Cluster(server=server.address), {})) as client,
        closing(Renewal(client)) as renewed,
    ):
        renewed.add(PATH)
        yield server


def test_a_lease_is_renewed_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with renewing(answer({}), monkeypatch) as server:
        wait_for(lambda: len(server.asked) >= 3)
        assert set(server.asked) == {f"PATCH {PATH}"}
        spec = server.requests[0].json["spec"]
    assert spec["leaseDurationSeconds"] == 7200
    assert abs(read_moment(spec["renewTime"]) - time.time()) < 60


def test_without_the_right_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with renewing(refusal(403, "Forbidden", "cannot patch resource"), monkeypatch) as server:
        wait_for(lambda: server.asked)
        time.sleep(0.3)  # six times as long as it pauses
        assert len(server.asked) == 1


def lease(run: str, **spec: Any) -> dict[str, Any]:
    made = build_run(f"isolate-{run}", {LABEL_RUN: run}, LONG_AGO)
    return {**made, "spec": {**made["spec"], **spec}}


def test_a_run_is_abandoned_when_its_lease_was_not_renewed_for_longer_than_it_says() -> None:
    kept = build_run("kept", {LABEL_RUN: "kept", LABEL_REUSE: "project"}, LONG_AGO)
    found = find_abandoned(
        [
            lease("over", leaseDurationSeconds=7200),
            lease("alive", leaseDurationSeconds=7200, renewTime=moment_now()),
            lease("never-renewed"),  # whoever made it lacks the right
            {**kept, "spec": {"leaseDurationSeconds": 7200, "renewTime": LONG_AGO}},
            {"metadata": build_run("secret", {LABEL_RUN: "secret"}, LONG_AGO)["metadata"]},
        ]
    )
    assert found == {"over"}
