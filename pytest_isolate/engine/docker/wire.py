"""The Docker Engine API as plain values: what is sent, and what its answers mean. Pure; knows no client library."""

from __future__ import annotations

import base64
import json
import re
import stat
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_isolate.engine.api import (
    BuildRequest,
    ContainerRequest,
    ContainerState,
    ContainerUsage,
    Event,
    PathFacts,
    PathOwner,
    Progress,
)
from pytest_isolate.engine.docker.frames import moment
from pytest_isolate.engine.docker.remover import network_id
from pytest_isolate.errors import BuildFailed
from pytest_isolate.model.endpoint import Port, name_port
from pytest_isolate.model.service import ContainerSettings, is_host_path, split_mode

# Docker writes "Step 2/7 : RUN make", Podman "STEP 2/7: RUN make".
_STEP = r"(?:Step|STEP) (\d+)/(\d+) ?: (.*)"


def container_body(request: ContainerRequest) -> dict[str, Any]:
    """The body of `POST /containers/create` (Docker Engine API, 1.41)."""
    host = {
        "PortBindings": {p.name: [{"HostIp": p.host_ip, "HostPort": str(p.host_port or "")}] for p in request.ports},
        "Binds": [
            *(f"{name}:{target}" for name, target in (*request.volumes.items(), *request.binds.items())),
            *(_volume(*mount) for mount in request.settings.binds if not is_host_path(mount[1])),
        ],
        "AutoRemove": request.removes_itself or None,
        "Mounts": [
            *(_bind(*mount) for mount in request.settings.binds if is_host_path(mount[1])),
            *(_memory_mount(path, size) for path, size in request.memory_folders.items()),
            *(_own_folder(path, keeps) for path, keeps in request.folders.items()),
        ],
        "Memory": request.memory_bytes,
        "MemorySwap": request.memory_bytes,  # memory and swap together, so: no swap
        "NanoCpus": round((request.cpus or 0) * 1e9),
        "PidsLimit": request.pids,
        "ShmSize": request.shm_bytes,
        "CapDrop": list(request.cap_drop),
        "CapAdd": list(request.cap_add),
        "SecurityOpt": [
            *(["no-new-privileges"] if request.no_new_privileges else []),
            *request.settings.security_opt,
        ],
        "NetworkMode": f"container:{request.joined}"
        if request.joined
        else request.settings.network or request.network or "default",
    }
    config: dict[str, Any] = {
        "Image": request.image,
        "Labels": dict(request.labels),
        "Env": [f"{name}={value}" for name, value in request.env.items()],
        "ExposedPorts": {p.name: {} for p in request.ports},
        "HostConfig": {key: value for key, value in host.items() if value is not None},
    }
    if request.command is not None:
        config["Cmd"] = list(request.command)
    if request.entrypoint is not None:
        config["Entrypoint"] = list(request.entrypoint)
    if request.user:
        config["User"] = request.user
    if request.keeps_input:
        config["OpenStdin"] = True
    if request.network:
        config["NetworkingConfig"] = {"EndpointsConfig": {request.network: {"Aliases": list(request.aliases)}}}
    _add_settings(config, request.settings)
    return config


def _add_settings(config: dict[str, Any], settings: ContainerSettings) -> None:
    """Write down what is set, and nothing of what is left to the image and the engine."""
    own = {
        "Hostname": settings.hostname,
        "Domainname": settings.domainname,
        "User": settings.user,
        "WorkingDir": settings.working_dir,
        "StopSignal": settings.stop_signal,
        "OpenStdin": settings.stdin_open,
    }
    host = {
        **{_NAMESPACES[name]: value for name, value in settings.namespaces},
        "DeviceCgroupRules": list(settings.device_cgroup_rules),
        "Devices": [_device(text) for text in settings.devices],
        "DeviceRequests": [_gpus(text) for text in settings.gpus],
        "Dns": list(settings.dns),
        "DnsOptions": list(settings.dns_options),
        "DnsSearch": list(settings.dns_search),
        "ExtraHosts": [f"{name}:{address}" for name, address in settings.extra_hosts],
        "GroupAdd": list(settings.group_add),
        "Init": settings.init,
        "Privileged": settings.privileged,
        "ReadonlyRootfs": settings.read_only,
        "Sysctls": dict(settings.sysctls),
        "Tmpfs": dict(settings.tmpfs),
        "Ulimits": [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in settings.ulimits],
    }
    config.update({key: value for key, value in own.items() if value})
    config["HostConfig"].update({key: value for key, value in host.items() if value})
    config["Labels"] = {**dict(settings.labels), **config["Labels"]}


_NAMESPACES = {"cgroup": "CgroupnsMode", "ipc": "IpcMode", "pid": "PidMode", "userns": "UsernsMode", "uts": "UTSMode"}


def _volume(target: str, source: str) -> str:
    name, colon, mode = source.partition(":")
    return f"{name}:{target}{colon}{mode}"


def _bind(target: str, source: str) -> dict[str, Any]:
    """A path of the engine's host. As a text, as volumes are, it could hold no colon."""
    path, is_read_only = split_mode(source)
    return {"Type": "bind", "Source": path, "Target": target, "ReadOnly": is_read_only}


def _device(text: str) -> dict[str, str]:
    """A device as `docker run --device` writes it: HOST[:INSIDE[:RIGHTS]]."""
    host, _, rest = text.partition(":")
    inside, _, rights = rest.partition(":")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": rights or "rwm"}


def _gpus(text: str) -> dict[str, Any]:
    """A request for devices as `docker run --gpus` writes it: `all`, a number, or parts such as `driver=nvidia`."""
    said = {"count": text} if "=" not in text else dict(part.split("=", 1) for part in text.split(","))
    ids = said["device"].split("+") if "device" in said else []
    return {
        "Driver": said.get("driver", ""),
        "Count": 0 if ids else -1 if said.get("count", "all") == "all" else int(said["count"]),
        "DeviceIDs": ids,
        "Capabilities": [said["capabilities"].split("+") if "capabilities" in said else ["gpu"]],
    }


def _memory_mount(path: str, size_bytes: int) -> dict[str, Any]:
    """A volume without a name, which goes with its container, on a tmpfs (docker volume create, "Driver-specific")."""
    driver = {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": f"size={size_bytes}"}}
    return {"Type": "volume", "Target": path, "VolumeOptions": {"DriverConfig": driver}}


def _own_folder(path: str, keeps: bool) -> dict[str, Any]:
    """A volume without a name, which goes with its container. Docker fills one with what the image has there."""
    return {"Type": "volume", "Target": path, "VolumeOptions": {"NoCopy": not keeps}}


# Bits of a mode as Go's os.FileMode has them (https://pkg.go.dev/io/fs#FileMode); the lowest nine are Unix' own.
_IS_FOLDER, _IS_LINK = 1 << 31, 1 << 27
_SPECIAL_BITS = {1 << 23: 0o4000, 1 << 22: 0o2000, 1 << 20: 0o1000}


def go_mode(mode: int) -> int:
    """Mode of a file, folder or link as Go has it."""
    kind = _IS_FOLDER if stat.S_ISDIR(mode) else _IS_LINK if stat.S_ISLNK(mode) else 0
    return kind | mode & 0o777 | sum(bit for bit, unix in _SPECIAL_BITS.items() if mode & unix)


def path_facts(path: str, header: str) -> PathFacts | None:
    """A file or folder by the header of an answer to `HEAD /containers/{id}/archive`; None where it tells of none."""
    if not header:
        return None
    told = json.loads(base64.b64decode(header))
    mode = int(told["mode"])
    return PathFacts(
        path=told.get("linkTarget") or path,
        is_folder=bool(mode & _IS_FOLDER),
        is_link=bool(mode & _IS_LINK),
        mode=mode & 0o777 | sum(unix for bit, unix in _SPECIAL_BITS.items() if mode & bit),
    )


def path_owner(block: bytes) -> PathOwner:
    """The owner of a file or folder by the first block of its archive."""
    entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    return PathOwner(entry.uid, entry.gid)


def _port(written: str) -> Port:
    number, _, protocol = written.partition("/")
    return name_port(int(number), protocol or "tcp")


def container_state(found: Mapping[str, Any]) -> ContainerState:
    """The state in an answer to `GET /containers/{id}/json`."""
    state = found["State"]
    running = bool(state["Running"])
    published = (found.get("NetworkSettings") or {}).get("Ports") or {}
    return ContainerState(
        is_running=running,
        is_paused=bool(state.get("Paused")),
        exit_code=None if running or state["Status"] == "created" else int(state["ExitCode"]),
        is_out_of_memory=bool(state.get("OOMKilled")),
        ports={_port(inner): int(outer[0]["HostPort"]) for inner, outer in published.items() if outer},
        volumes={m["Name"]: m["Destination"] for m in found.get("Mounts") or () if m["Type"] == "volume"},
        name=str(found.get("Name", "")).removeprefix("/"),
        started_at=moment(state.get("StartedAt", "")),
        ended_at=moment(state.get("FinishedAt", "")),
    )


def container_usage(found: Mapping[str, Any]) -> ContainerUsage | None:
    """The usage in an answer to `GET /containers/{id}/stats`; None where it says nothing, as of one that has ended."""
    memory = found.get("memory_stats") or {}
    if not memory.get("usage"):
        return None
    nanoseconds = found["cpu_stats"]["cpu_usage"]["total_usage"]
    # Where a rootless Podman has no control groups, it tells of the whole host's memory, and of no processor time.
    if not nanoseconds:
        return None
    details = memory.get("stats") or {}
    # The kernel's first version of control groups, and the second.
    idle = details.get("total_inactive_file", details.get("inactive_file", 0))
    return ContainerUsage(memory_bytes=max(0, memory["usage"] - idle), cpu_s=nanoseconds / 1e9)


def dropped_limits(request: ContainerRequest, found: Mapping[str, Any]) -> set[str]:
    """Limits of a request that the container made of it does not have, by an answer to its inspection."""
    host = found["HostConfig"]
    asked = {"memory": request.memory_bytes, "cpus": request.cpus, "pids": request.pids}
    held = {
        "memory": host.get("Memory"),
        "cpus": host.get("NanoCpus") or max(0, host.get("CpuQuota") or 0),
        "pids": host.get("PidsLimit"),
    }
    return {name for name, wanted in asked.items() if wanted and not held[name]}


def death(event: Mapping[str, Any]) -> Event:
    """The death that an event of `GET /events` tells of."""
    attributes = event["Actor"].get("Attributes") or {}
    return Event(container_id=event["Actor"]["ID"], exit_code=int(attributes.get("exitCode") or 0))


def has_labels(event: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell that an event of `GET /events` is of a container that carries all these labels."""
    return labels.items() <= (event["Actor"].get("Attributes") or {}).items()


def health_command(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The command of an image's HEALTHCHECK. Its shell form means the image's SHELL, `/bin/sh -c` by default."""
    test = (config.get("Healthcheck") or {}).get("Test") or ()
    match list(test):
        case ["CMD", *argv]:
            return tuple(argv)
        case ["CMD-SHELL", text]:
            return (*(config.get("Shell") or ("/bin/sh", "-c")), text)
        case _:
            return ()


def split_tag(image: str) -> tuple[str, str]:
    """A name and its tag: `registry:5000/db:1` is `registry:5000/db` and `1`; `latest` where it says none."""
    name, _, tag = image.rpartition(":")
    return (image, "latest") if not name or "/" in tag else (name, tag)


def default_tag(image: str) -> dict[str, str]:
    """Without a tag the API pulls every tag of a repository."""
    last = image.rsplit("/", 1)[-1]
    return {} if ":" in last or "@" in last else {"tag": "latest"}


def network_names(found: Mapping[str, Any]) -> tuple[str, str, Mapping[str, str]]:
    """Id, name and labels of a network in a list of them."""
    return network_id(found), found.get("Name") or found["name"], found.get("Labels") or found.get("labels") or {}


def network_subnets(found: Mapping[str, Any]) -> list[str]:
    """The subnets of a network in a list of them."""
    docker = [c["Subnet"] for c in (found.get("IPAM") or {}).get("Config") or () if c.get("Subnet")]
    return [*docker, *(s["subnet"] for s in found.get("subnets") or ())]


def image_platform(found: Mapping[str, Any]) -> str:
    """The platform in an answer to `GET /images/{name}/json`."""
    parts = (found.get("Os"), found.get("Architecture"), found.get("Variant"))
    return "/".join(part for part in parts if part) if all(parts[:2]) else ""


class PullCount:
    """Adds up what an engine says of each layer while it pulls an image."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def add(self, line: Mapping[str, Any]) -> Progress:
        """Progress of the pull with one more line of `POST /images/create`."""
        status, layer, detail = str(line.get("status", "")), str(line.get("id", "")), line.get("progressDetail") or {}
        if status == "Downloading":
            self._layers[layer] = (int(detail.get("current", 0)), int(detail.get("total", 0)))
        elif status == "Download complete" and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
        done, total = (sum(numbers) for numbers in zip(*self._layers.values(), strict=True)) if self._layers else (0, 0)
        text = "unpacking" if total and done == total else "pulling"
        if status.startswith("Retrying"):  # a connection broke, and the engine goes on where it did
            text = status.lower()
        return Progress(text=text, done=done, total=total, unit="bytes")


def build_step(line: str) -> Progress:
    """Progress of a build with a line such as `Step 2/7 : RUN make`."""
    match = re.fullmatch(_STEP, line, re.DOTALL)
    if not match:
        return Progress(text=line)
    return Progress(text=match[3], done=int(match[1]), total=int(match[2]), unit="steps")


def is_step(line: str) -> bool:
    """Tell that a line of a build begins a step."""
    return re.fullmatch(_STEP, line, re.DOTALL) is not None


def build_failed(request: BuildRequest, step: str, output: Sequence[str], by_hand: str) -> BuildFailed:
    """A build that failed, with the step and the last lines that it printed."""
    return BuildFailed(
        f"the image of {describe_dockerfile(request)} could not be built",
        tried=[step],
        found=list(output[-15:]),
        do=f"try it by hand: {by_hand}",
    )


def describe_dockerfile(request: BuildRequest) -> str:
    """Name of the Dockerfile, for people."""
    return f"dockerfile_inline in {request.context}" if request.inline is not None else request.dockerfile
