"""The engine of a cluster, opened as the environment names it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.cluster_commands import KubernetesCommandEngine
from pytest_isolate.engine.kubernetes.cluster_engine import Pusher
from pytest_isolate.engine.kubernetes.cluster_remover import ClusterRemover
from pytest_isolate.engine.kubernetes.kube_config import Cluster, is_inside_cluster, load_cluster, read_yaml
from pytest_isolate.engine.kubernetes.lifetime.own_pod import find_own_pod
from pytest_isolate.engine.kubernetes.objects.image_config import ImageSource
from pytest_isolate.engine.kubernetes.objects.object_labels import CONTAINER, digest, select
from pytest_isolate.engine.kubernetes.objects.pod_template import check_template
from pytest_isolate.engine.kubernetes.objects.role import FEATURES, FORWARD, SERVICES, Feature, ask_permissions
from pytest_isolate.engine.kubernetes.pods import ROOM_WITHIN_S
from pytest_isolate.engine.kubernetes.registry.node_images import LoadTool, LocalImages, NodeImages, find_load_tool
from pytest_isolate.engine.kubernetes.registry.registry_images import RegistryImages
from pytest_isolate.engine.kubernetes.relay_orders import RelayOrders
from pytest_isolate.engine.kubernetes.relayed_ports import RelayedPorts
from pytest_isolate.errors import EngineError

CONTEXT, NAMESPACE, TEMPLATE, WAIT = (
    f"PYTEST_ISOLATE_{name}" for name in ("KUBE_CONTEXT", "NAMESPACE", "POD_TEMPLATE", "POD_WAIT")
)


def find_cluster(env: Mapping[str, str]) -> Cluster:
    """The cluster and namespace that the environment names; EngineUnreachable where it names none."""
    return load_cluster(env, env.get(CONTEXT, ""), env.get(NAMESPACE, ""))


def find_loader(env: Mapping[str, str]) -> LoadTool | None:
    """The program that loads images into the nodes of the cluster; None where it is no cluster of this machine."""
    return find_load_tool(find_cluster(env).context, env)


def open_engine(
    env: Mapping[str, str], pusher: Pusher | None = None, local: tuple[LocalImages, LoadTool] | None = None
) -> KubernetesCommandEngine:
    """The engine of the cluster that the environment names; MissingRights names all rights that are not there.

    Images are pushed by the pusher, or those of this machine are loaded.
    """
    cluster, template, is_inside = find_cluster(env), read_template(env), is_inside_cluster(env)
    client = ClusterClient(cluster, env)
    try:
        permissions = ask_permissions(client.create, cluster.namespace, needed_features(env))
        images: ImageSource = RegistryImages(client, template)
        if local:
            images = pusher = NodeImages(images, *local)
        ports = None if is_inside else RelayedPorts(_find_relay(env, cluster))
        return KubernetesCommandEngine(
            client,
            images,
            ports,
            template=template,
            pusher=pusher,
            job=find_own_pod(client, env) if is_inside else None,
            room_within_s=_read_wait(env),
            may_make_services=permissions.allows(SERVICES),
        )
    except BaseException:
        client.close()
        raise


def _find_relay(env: Mapping[str, str], cluster: Cluster) -> RelayOrders:
    """The relay that all runs of this user on a cluster's namespace share."""
    return RelayOrders(relay_folder(env, cluster), cluster, select(CONTAINER, {})["labelSelector"])


def needed_features(env: Mapping[str, str]) -> list[Feature]:
    """The features of a run, by the way in which its tests reach services."""
    if is_inside_cluster(env):
        return [feature for feature in FEATURES if feature is not FORWARD]
    needed = replace(FORWARD, without="")
    return [needed if feature is FORWARD else feature for feature in FEATURES if feature is not SERVICES]


def read_template(env: Mapping[str, str]) -> Mapping[str, Any]:
    """The user's pod template; empty where there is none."""
    path = env.get(TEMPLATE, "")
    if not path:
        return {}
    template = read_yaml(Path(path), "the pod template")
    check_template(template, path)
    return dict(template)


def _read_wait(env: Mapping[str, str]) -> float:
    """Seconds that a pod may wait for room; runs of pytest write them there, however they were given."""
    text = env.get(WAIT, "")
    try:
        return float(text or ROOM_WITHIN_S)
    except ValueError:
        raise EngineError(f"{WAIT}={text}: it is not a number of seconds", do=f"write such as {WAIT}=300") from None


def relay_folder(env: Mapping[str, str], cluster: Cluster) -> Path:
    """A folder of this user's alone for the relay to a cluster, which all runs on it share."""
    base = Path(env.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    user = os.getuid() if hasattr(os, "getuid") else 0
    parent = base / f"pytest-isolate-relay-{user}"
    folder = parent / digest(f"{cluster.server} {cluster.namespace} {cluster.context} {cluster.source}")
    for path in (parent, folder):
        path.mkdir(mode=0o700, exist_ok=True)
    facts = parent.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != user or facts.st_mode & 0o022:
        raise EngineError(
            "the relay to the pods has no folder of its own",
            found=f"{parent} belongs to another user, or others may write to it",
            do="remove it, or set XDG_RUNTIME_DIR to a folder of yours",
        )
    return folder


def find_for_removal(env: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """The cluster as a text for `open_remover`; proved to understand the questions of clean-up."""
    cluster = find_cluster(env)
    client = ClusterClient(cluster, env)
    try:
        ClusterRemover(client).check(labels)
    finally:
        client.close()
    return cluster.as_text()


def open_remover(text: str) -> ClusterRemover:
    """The cluster of a text, for clean-up only."""
    return ClusterRemover(ClusterClient(Cluster.from_text(text)))
