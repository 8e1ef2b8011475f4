"""Checks of a cluster for `pytest-isolate doctor`: it answers, runs may do what they need, its quotas leave room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from pytest_isolate.engine.command_api import CheckResult
from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import is_inside_cluster
from pytest_isolate.engine.kubernetes.objects.quota import NO_QUOTA_BYTES, read_memory
from pytest_isolate.engine.kubernetes.objects.role import Permissions, ask_permissions
from pytest_isolate.engine.kubernetes.opened import find_cluster, needed_features, read_template
from pytest_isolate.errors import EngineError

# The first whose port-forward carries all connections of a pod in one.
_FIRST_WITH_TUNNEL = (1, 31)
_MIB = 1 << 20


def check_cluster(env: Mapping[str, str]) -> Iterator[CheckResult]:
    """Each check of the cluster that the environment names, up to the first that makes the next ones futile."""
    try:
        cluster = find_cluster(env)
        template = read_template(env)
    except EngineError as error:
        found = "; ".join([error.what, *error.found])
        yield CheckResult(check="cluster", is_problem=True, found=found, do=str(error.do))
        return
    context = f", context {cluster.context}" if cluster.context else ""
    with closing(ClusterClient(cluster, env)) as client:
        try:
            major, minor = client.server_version()
        except EngineError as error:
            found = f"{cluster.server} does not answer: {', '.join(error.found) or error.what}"
            yield CheckResult(check="cluster", is_problem=True, found=found, do="kubectl version shows whether it does")
            return
        yield CheckResult(check="cluster", found=f"Kubernetes {major}.{minor} at {cluster.server}{context}")
        place = "inside the cluster" if is_inside_cluster(env) else "outside the cluster, by port-forward"
        is_slow = (major, minor) < _FIRST_WITH_TUNNEL and not is_inside_cluster(env)
        do = (
            f"use a cluster of {'.'.join(map(str, _FIRST_WITH_TUNNEL))} or later: one tunnel for each pod"
            if is_slow
            else ""
        )
        yield CheckResult(check="place", is_warning=is_slow, found=f"tests run {place}", do=do)
        try:
            permissions = ask_permissions(client.create, cluster.namespace, needed_features(env))
        except EngineError as error:
            do = f"pytest-isolate kubernetes role --namespace={cluster.namespace} | kubectl apply -f -"
            yield CheckResult(check="rights", is_problem=True, found="; ".join(error.found), do=do)
            return
        yield _judge_rights(cluster.namespace, permissions)
        if template:
            yield CheckResult(check="template", found=f"{env['PYTEST_ISOLATE_POD_TEMPLATE']} is merged into every pod")
        try:
            quotas = client.get(f"/api/v1/namespaces/{cluster.namespace}/resourcequotas").get("items") or ()
        except EngineError:
            quotas = ()
        memory = read_memory(quotas)
        room = f"{memory // _MIB} MiB of memory for all pods" if memory < NO_QUOTA_BYTES else "no quota is known"
        yield CheckResult(check="quota", found=room)


def _judge_rights(namespace: str, permissions: Permissions) -> CheckResult:
    if not permissions.notes:
        return CheckResult(check="rights", found=f"all that runs can use in namespace {namespace}")
    do = f"pytest-isolate kubernetes role --namespace={namespace} | kubectl apply -f -"
    return CheckResult(check="rights", is_warning=True, found="; ".join(permissions.notes), do=do)
