"""A container of a Pod, in the words of Docker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes.fake.api.quantities import parse_quantity
from kubernetes.fake.api.store import Object
from kubernetes.fake.node.environment import ConfigError, expand

_LEAST_MEMORY = 6 * 2**20


def build_config(
    pod: Object,
    container: Object,
    *,
    image_id: str,
    variables: Mapping[str, str],
    mounts: Iterable[Mapping[str, Any]],
    labels: Mapping[str, str],
    network: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of Docker's request to create; `network` is its mode and, for the first of a Pod, its address."""
    command, args = ([expand(word, variables) for word in container.get(key) or ()] for key in ("command", "args"))
    config: dict[str, Any] = {
        "Image": image_id,
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Labels": dict(labels),
        "OpenStdin": bool(container.get("stdin")),
        "StdinOnce": bool(container.get("stdinOnce")),
        "AttachStdin": bool(container.get("stdin")),
        "Tty": bool(container.get("tty")),
        "HostConfig": {
            "NetworkMode": network["mode"],
            "Mounts": list(mounts),
            "LogConfig": {"Type": "json-file", "Config": {}},
            **_limits(container),
            **_security(pod, container),
        },
    }
    if command:
        config["Entrypoint"] = command
    if args:
        config["Cmd"] = args
    if container.get("workingDir"):
        config["WorkingDir"] = container["workingDir"]
    if "endpoint" in network:
        config["NetworkingConfig"] = network["endpoint"]
        config["Hostname"] = (pod["spec"].get("hostname") or pod["metadata"]["name"])[:63]
    user = find_user(pod, container)
    if user is not None:
        config["User"] = user
    return config


def _limits(container: Object) -> dict[str, Any]:
    limits, requests = (container["resources"].get(key) or {} for key in ("limits", "requests"))
    found: dict[str, Any] = {}
    if "memory" in limits:
        size = max(int(parse_quantity(limits["memory"])), _LEAST_MEMORY)
        found.update(Memory=size, MemorySwap=size)
    if "cpu" in limits:
        found["NanoCpus"] = max(int(parse_quantity(limits["cpu"]) * 10**9), 10**7)
    if "cpu" in requests:
        found["CpuShares"] = max(int(parse_quantity(requests["cpu"]) * 1024), 2)
    return found


def _security(pod: Object, container: Object) -> dict[str, Any]:
    of_pod, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    profile = (own.get("seccompProfile") or of_pod.get("seccompProfile") or {}).get("type", "Unconfined")
    options = [] if profile == "RuntimeDefault" else ["seccomp=unconfined"]
    if own.get("allowPrivilegeEscalation") is False:
        options.append("no-new-privileges")
    groups = [*(of_pod.get("supplementalGroups") or ()), *([of_pod["fsGroup"]] if "fsGroup" in of_pod else ())]
    return {
        "CapAdd": capabilities.get("add") or [],
        "CapDrop": capabilities.get("drop") or [],
        "Privileged": bool(own.get("privileged")),
        "ReadonlyRootfs": bool(own.get("readOnlyRootFilesystem")),
        "SecurityOpt": options,
        "GroupAdd": [str(group) for group in groups],
        "Sysctls": {one["name"]: one["value"] for one in of_pod.get("sysctls") or ()},
    }


def _setting(pod: Object, container: Object, key: str) -> Any:
    own = (container.get("securityContext") or {}).get(key)
    return (pod["spec"].get("securityContext") or {}).get(key) if own is None else own


def find_user(pod: Object, container: Object) -> str | None:
    user, group = (_setting(pod, container, key) for key in ("runAsUser", "runAsGroup"))
    if user is None:
        return None if group is None else f"0:{group}"
    return f"{user}:{0 if group is None else group}"


def check_user(pod: Object, container: Object, image: Mapping[str, Any]) -> None:
    """Raise ConfigError for a program that would run as root and must not."""
    if not _setting(pod, container, "runAsNonRoot"):
        return
    meta = pod["metadata"]
    where = f'(pod: "{meta["name"]}_{meta["namespace"]}({meta["uid"]})", container: {container["name"]})'
    user = _setting(pod, container, "runAsUser")
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    if user is not None:
        return
    name = ((image.get("Config") or {}).get("User") or "").partition(":")[0]
    if name in ("", "0"):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if not name.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), "
            f"cannot verify user is non-root {where}"
        )
