"""Containers as objects of a cluster: a Pod, whose first process is ours, and a Secret with its words. Pure.

Decisions. A pod holds its program by `first_process`, so that it, its files and its address stay while the program is
stopped and started; names lead to the pod's own address, which answers a second before a Service's would, and for every
port, so that no Service is needed. Volumes of one service are folders of its container, which lives as long: what the
image has there, with owner and mode, is there. A container that does not run as root is made as the Pod Security level
`restricted` asks, any other as `baseline` does: nothing has to be known of the namespace. Programs' words and variables
stand in a Secret and not in the pod, which more may read, and where kubelet would expand `$(NAME)`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig, encode_words
from pytest_isolate.engine.kubernetes.objects.object_labels import (
    CONTAINER,
    DOMAIN,
    NETWORK,
    PROGRAM,
    RUN,
    RUN_LABELS,
    VOLUME,
    describe_object,
    object_name,
)
from pytest_isolate.engine.kubernetes.objects.pod_template import SERVICE, merge_template, template_body
from pytest_isolate.model.identity import LABEL_OWNS
from pytest_isolate.model.service import DEFAULT_PIDS

FOLDER = "/.isolate"
FIRST, WORDS = f"{FOLDER}/first", f"{FOLDER}/words"
HOSTS = "/.isolate-hosts"
MEMBER = "net.pytest-isolate"
"""Prefix of a label for each network that a pod is on."""
NETWORKS, HOSTNAMES, STOP_SIGNAL, HELD = (f"{DOMAIN}/{word}" for word in ("networks", "hosts", "stop-signal", "held"))
GATE = f"{DOMAIN}/start"
"""Keeps a pod without our first process from being scheduled until it is to start."""
MACHINE = "kubernetes.io/arch"
LONGEST_LIFE_S = 24 * 3600
"""No pod outlives this, whatever has become of all that should remove it."""
REQUESTED_BYTES = 256 * 1024**2
_REQUESTED_CPUS = 0.1
# A second for what has not been stopped before; services are stopped by the first process.
_GRACE_S = 1
# Those that rights of its own do not need: without new privileges a user that is not root has none of them anyway.
_OF_ROOT = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
# Those that inject containers of their own, and those that move pods to other nodes, leave these alone.
_LEFT_ALONE = {
    "sidecar.istio.io/inject": "false",
    "linkerd.io/inject": "disabled",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
PROGRAM_USER = "PYTEST_ISOLATE_USER"
"""The variable by which the first process is told whose the program is."""
# To become another user, to end its processes, and to copy files in its name.
_TO_CHANGE_USER = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"}
_SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "": 1}


class Setting(Struct, frozen=True, kw_only=True):
    """Facts about the place of a container: its owner, its machine, the template of the user."""

    owner: Mapping[str, str] | None = None
    machine: str = "amd64"
    template: Mapping[str, Any] = {}
    program_secret: str = ""
    may_be_root: bool = True  # else the first process is the user that the image names, and copies files as that one
    run_labels: Mapping[str, str] = {}


def build_run(
    name: str, labels: Mapping[str, str], moment: str, owner: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The Lease that owns all objects of a run."""
    owners = {"ownerReferences": [dict(owner)]} if owner else {}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, **describe_object(RUN, name, owner_labels(labels)), **owners},
        "spec": {"holderIdentity": name, "acquireTime": moment, "renewTime": moment},
    }


def run_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of a run in those of one of its objects: none of a worker's, for all workers share it."""
    return {key: labels[key] for key in RUN_LABELS if key in labels}


def owner_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of the object that owns a run."""
    return {**run_labels(labels), LABEL_OWNS: "all"}


def build_secret(
    kind: str,
    name: str,
    content: Mapping[str, bytes],
    *,
    metadata: Mapping[str, Any],
    owner: Mapping[str, str] | None,
) -> dict[str, Any]:
    """A Secret of ours. All that a run keeps in a cluster besides pods are Secrets: few have rights to more."""
    owners = {"ownerReferences": [dict(owner)]} if owner else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **metadata, **owners},
        "type": f"{DOMAIN}/{kind}",
        "immutable": True,
        "data": {key: base64.b64encode(value).decode() for key, value in content.items()},
    }


def build_named(
    kind: str, name: str, object_id: str, labels: Mapping[str, str], owner: Mapping[str, str] | None
) -> dict[str, Any]:
    """A network or a volume: an object with a name and labels, and nothing in it."""
    return build_secret(kind, object_id, {}, metadata=describe_object(kind, name, labels), owner=owner)


def build_network(
    name: str, object_id: str, labels: Mapping[str, str], owner: Mapping[str, str] | None
) -> dict[str, Any]:
    """A network: pods that carry its label know each other by names."""
    return build_named(NETWORK, name, object_id, labels, owner)


def build_volume(name: str, labels: Mapping[str, str], owner: Mapping[str, str] | None) -> dict[str, Any]:
    """A named volume: the promise of a folder of the one container that uses it."""
    return build_named(VOLUME, name, object_name(f"volume {name}"), labels, owner)


def build_program(
    name: str, binary: bytes, labels: Mapping[str, str], owner: Mapping[str, str] | None
) -> dict[str, Any]:
    """The first process itself, once for each run."""
    metadata = describe_object(PROGRAM, name, run_labels(labels))
    return build_secret(PROGRAM, name, {"first": binary}, metadata=metadata, owner=owner)


def build_words(request: ContainerRequest, words: Sequence[str], owner: Mapping[str, str] | None) -> dict[str, Any]:
    """The words and variables of a container's program."""
    content = {"words": encode_words(words), **{f"env.{k}": v.encode() for k, v in request.env.items()}}
    metadata = describe_object(f"{CONTAINER}-words", request.name, request.labels)
    return build_secret("words", pod_name(request), content, metadata=metadata, owner=owner)


def pod_name(request: ContainerRequest) -> str:
    """The name of a container's pod, and of its Secret."""
    return object_name(request.name)


def build_pod(
    request: ContainerRequest, words: Sequence[str], image: ImageConfig | None, setting: Setting
) -> dict[str, Any]:
    """The Pod of a container. Without words it runs as its image says, once it may be scheduled."""
    settings, name = request.settings, pod_name(request)
    user, program_user = _user_of(request, image), ""
    if words and not _is_root(user) and _may_change_user(request, setting):
        user, program_user = "0", user or ""
    folders = _folders(request, user, image)
    container = {
        "name": SERVICE,
        "image": image.reference if image and image.reference else request.image,
        "imagePullPolicy": "Never" if image and image.is_local else "IfNotPresent",
        **_program(request, words, [FIRST, "hold", name, WORDS, *_made_folders(request, folders)]),
        "env": [*_program_variables(program_user), *(_variable(key, name) for key in request.env)],
        "ports": [{"containerPort": inner} for inner in sorted({binding.inner for binding in request.ports})],
        "resources": _resources(request),
        "securityContext": _container_security(request, user, "0:0" if program_user else ""),
        "volumeMounts": _mounts(folders, user, has_words=bool(words)),
        **({"workingDir": settings.working_dir} if settings.working_dir else {}),
        **({"stdin": True} if request.keeps_input or settings.stdin_open else {}),
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_S,
        "activeDeadlineSeconds": LONGEST_LIFE_S,
        "nodeSelector": {MACHINE: setting.machine},
        "securityContext": _pod_security(settings.sysctls, settings.group_add, settings.security_opt),
        "volumes": _volumes(folders, user, setting, name, has_words=bool(words)),
        "containers": [container],
        **({"hostname": settings.hostname} if settings.hostname else {}),
        **_dns(request),
    }
    if words and not _is_root(user):
        spec["initContainers"] = [_hosts_maker(container)]
    if not words:
        spec["schedulingGates"] = [{"name": GATE}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": _pod_metadata(request, image, words, setting), "spec": spec}
    return _choose_machine(merge_template(pod, setting.template), setting.template)


def _pod_metadata(
    request: ContainerRequest, image: ImageConfig | None, words: Sequence[str], setting: Setting
) -> dict[str, Any]:
    labels = dict(request.settings.labels) | dict(request.labels)
    described = describe_object(CONTAINER, request.name, labels)
    signal = request.settings.stop_signal or (image.stop_signal if image else "")
    names = [f"{address} {name}" for name, address in request.settings.extra_hosts]
    annotations = {
        **_LEFT_ALONE,
        **described["annotations"],
        **({HELD: "true"} if words else {}),
        **({STOP_SIGNAL: signal} if signal else {}),
        **({HOSTNAMES: "\n".join(names)} if names else {}),
    }
    owners = {"ownerReferences": [dict(setting.owner)]} if setting.owner else {}
    labelled = {**described["labels"], "sidecar.istio.io/inject": "false"}
    return {"name": pod_name(request), "labels": labelled, "annotations": annotations, **owners}


def _program(request: ContainerRequest, words: Sequence[str], holder: list[str]) -> dict[str, Any]:
    if words:
        return {"command": holder}
    # kubelet puts a single $ in place of two.
    written = {"command": request.entrypoint, "args": request.command}
    return {key: [word.replace("$", "$$") for word in value] for key, value in written.items() if value is not None}


def _variable(name: str, secret: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": f"env.{name}"}}}


# -- rights ------------------------------------------------------------------------------------------------------------


def _user_of(request: ContainerRequest, image: ImageConfig | None) -> str | None:
    """The user that a container runs as; None where it is not known."""
    return request.user or request.settings.user or (None if image is None else image.user or "0")


def _is_root(user: str | None) -> bool:
    """Tell that a user is root, or may be."""
    return user is None or user.partition(":")[0] in ("0", "root")


def _may_change_user(request: ContainerRequest, setting: Setting) -> bool:
    """Tell that the first process may be root, and become the program's user."""
    given = (template_body(setting.template).get("spec") or {}).get("securityContext") or {}
    rights = {name.removeprefix("CAP_") for name in request.cap_add}
    asks_otherwise = given.get("runAsNonRoot") or given.get("runAsUser")
    return setting.may_be_root and not asks_otherwise and (rights >= _TO_CHANGE_USER or request.settings.privileged)


def _program_variables(user: str) -> list[dict[str, Any]]:
    return [{"name": PROGRAM_USER, "value": user}] if user else []


def _container_security(request: ContainerRequest, user: str | None, first_user: str) -> dict[str, Any]:
    number, _, group = (first_user or request.user or request.settings.user).partition(":")
    drop, add = request.cap_drop, request.cap_add
    is_privileged = request.settings.privileged
    is_bound = request.no_new_privileges and not is_privileged
    if not _is_root(user) and is_bound:
        drop, add = ("ALL",), tuple(name for name in add if name.removeprefix("CAP_") not in _OF_ROOT)
    first_group = (user or "").partition(":")[0]
    return {
        "allowPrivilegeEscalation": not is_bound,
        "capabilities": {"drop": [*drop], "add": [name.removeprefix("CAP_") for name in add]},
        **({"privileged": True} if is_privileged else {}),
        **({"readOnlyRootFilesystem": True} if request.settings.read_only else {}),
        **({"runAsUser": int(number)} if number else {}),
        **({"runAsGroup": int(group)} if group else {}),
        # kubelet can tell only of a number that it is not root's.
        **({"runAsNonRoot": True} if not _is_root(user) and first_group.isdecimal() else {}),
    }


def _pod_security(sysctls: Sequence[tuple[str, str]], groups: Sequence[str], policies: Sequence[str]) -> dict[str, Any]:
    is_unconfined = "seccomp=unconfined" in policies
    return {
        "seccompProfile": {"type": "Unconfined" if is_unconfined else "RuntimeDefault"},
        **({"sysctls": [{"name": name, "value": value} for name, value in sysctls]} if sysctls else {}),
        **({"supplementalGroups": [int(group) for group in groups]} if groups else {}),
    }


def _resources(request: ContainerRequest) -> dict[str, Any]:
    """Limits as declared. Less is requested: a scheduler, and a quota, would keep all of it free for each."""
    limits, requests = {}, {}
    if request.memory_bytes:
        limits["memory"] = _size(request.memory_bytes)
        requests["memory"] = _size(min(request.memory_bytes, REQUESTED_BYTES))
    if request.cpus:
        limits["cpu"] = f"{round(request.cpus * 1000)}m"
        requests["cpu"] = f"{round(min(request.cpus, _REQUESTED_CPUS) * 1000)}m"
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def _size(size_bytes: int) -> str:
    """A size as people write it, for the cluster's own words show it."""
    units = ((1 << 30, "Gi"), (1 << 20, "Mi"))
    return next((f"{size_bytes // unit}{name}" for unit, name in units if size_bytes % unit == 0), str(size_bytes))


def dropped_limits(request: ContainerRequest, made: Mapping[str, Any]) -> set[str]:
    """Limits of a request that the Pod that the server made does not have: a LimitRange lowers them without a word."""
    asked = _resources(request).get("limits", {})
    held = made["spec"]["containers"][0].get("resources", {}).get("limits") or {}
    names = {"memory": "memory", "cpu": "cpus"}
    lost = {names[key] for key, value in asked.items() if read_quantity(held.get(key, "0")) != read_quantity(value)}
    # The default is not worth a word in each run.
    return lost | ({"pids"} if request.pids not in (None, DEFAULT_PIDS) else set())


_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def read_quantity(text: str) -> float:
    """A quantity as Kubernetes writes it: 500m, 2Gi; 0 for one that is not understood."""
    found = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)([A-Za-z]*)", str(text))
    return float(found[1]) * _UNITS.get(found[2], 0.0) if found else 0.0


# -- folders -----------------------------------------------------------------------------------------------------------


class _Folder(Struct, frozen=True):
    """A folder that is mounted."""

    path: str
    kind: Mapping[str, Any] = {}  # of its emptyDir
    is_read_only: bool = False


def _folders(request: ContainerRequest, user: str | None, image: ImageConfig | None) -> list[_Folder]:
    tmpfs = [
        _Folder(path, _in_memory(_tmpfs_size(options)), "ro" in options.split(","))
        for path, options in request.settings.tmpfs
    ]
    shared = [_Folder("/dev/shm", _in_memory(request.shm_bytes))] if request.shm_bytes else []  # noqa: S108  # by POSIX
    memory = [_Folder(path, _in_memory(size)) for path, size in request.memory_folders.items()]
    own = [_Folder(path) for path, keeps in request.folders.items() if not keeps]
    # In the container itself all that is kept is kept, but only root may make a folder there that the image has not.
    kept = () if image is None else image.volumes
    is_mounted = request.settings.read_only or not _is_root(user)
    own += [_Folder(path) for path in _kept(request) if is_mounted and (request.settings.read_only or path not in kept)]
    return [*memory, *tmpfs, *shared, *own]


def _kept(request: ContainerRequest) -> list[str]:
    """Folders whose content is the image's at first, and lasts as long as the container."""
    kept = [path for path, keeps in request.folders.items() if keeps]
    return list(dict.fromkeys([*request.volumes.values(), *kept]))


def _made_folders(request: ContainerRequest, mounted: Sequence[_Folder]) -> list[str]:
    """Folders that the first process makes where the image has none."""
    return [path for path in _kept(request) if path not in [folder.path for folder in mounted]]


def _in_memory(size_bytes: int) -> dict[str, Any]:
    return {"medium": "Memory", **({"sizeLimit": str(size_bytes)} if size_bytes else {})}


def _tmpfs_size(options: str) -> int:
    found = re.search(r"(?:^|,)size=(\d+)([kmgKMG]?)(?:,|$)", options)
    return int(found[1]) * _SIZES[found[2].lower()] if found else 0


def _volumes(
    folders: Sequence[_Folder], user: str | None, setting: Setting, name: str, *, has_words: bool
) -> list[dict[str, Any]]:
    made = [{"name": f"folder-{n}", "emptyDir": dict(folder.kind)} for n, folder in enumerate(folders)]
    if not has_words:
        return made
    sources = [
        {"secret": {"name": setting.program_secret, "items": [{"key": "first", "path": "first", "mode": 0o555}]}},
        {"secret": {"name": name, "items": [{"key": "words", "path": "words", "mode": 0o444}]}},
    ]
    hosts = [] if _is_root(user) else [{"name": "hosts", "emptyDir": {}}]
    return [{"name": "first", "projected": {"sources": sources, "defaultMode": 0o555}}, *hosts, *made]


def _mounts(folders: Sequence[_Folder], user: str | None, *, has_words: bool) -> list[dict[str, Any]]:
    made = [
        {"name": f"folder-{n}", "mountPath": folder.path, **({"readOnly": True} if folder.is_read_only else {})}
        for n, folder in enumerate(folders)
    ]
    if not has_words:
        return made
    # kubelet's own file is root's. Another user's container is given one that it may write to.
    hosts = [] if _is_root(user) else [{"name": "hosts", "mountPath": "/etc/hosts", "subPath": "hosts"}]
    return [{"name": "first", "mountPath": FOLDER, "readOnly": True}, *hosts, *made]


def _hosts_maker(container: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the table of hosts: a file that is not there would be mounted as a folder."""
    return {
        "name": "hosts",
        "image": container["image"],
        "imagePullPolicy": container["imagePullPolicy"],
        "command": [FIRST, "touch", f"{HOSTS}/hosts"],
        "resources": container["resources"],
        "securityContext": container["securityContext"],
        "volumeMounts": [
            {"name": "first", "mountPath": FOLDER, "readOnly": True},
            {"name": "hosts", "mountPath": HOSTS},
        ],
    }


def _dns(request: ContainerRequest) -> dict[str, Any]:
    settings = request.settings
    options = [dict(zip(("name", "value"), text.split(":", 1), strict=False)) for text in settings.dns_options]
    parts = {"nameservers": [*settings.dns], "searches": [*settings.dns_search], "options": options}
    config = {key: value for key, value in parts.items() if value}
    return {**({"dnsConfig": config} if config else {}), **({"dnsPolicy": "None"} if settings.dns else {})}


def _choose_machine(pod: dict[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """The kind of node that the template names counts more than the one that the cluster's own server is on."""
    wanted = template_machine(template)
    if wanted:
        pod["spec"]["nodeSelector"][MACHINE] = wanted
    return pod


def template_machine(template: Mapping[str, Any]) -> str:
    """The kind of node that a pod template names; empty where it names none."""
    return str(((template_body(template).get("spec") or {}).get("nodeSelector") or {}).get(MACHINE, ""))
