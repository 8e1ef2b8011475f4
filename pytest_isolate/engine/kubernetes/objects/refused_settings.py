"""Settings of a container that a pod cannot have, each with the reason and a way out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.errors import EngineError
from pytest_isolate.model.service import ContainerSettings, is_host_path

_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NUMBERS = re.compile(r"\d+(:\d+)?")
_NODE = "pods see nothing of the machine that tests run on"
_POLICY = ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true", "seccomp=unconfined")


class RefusedSetting(EngineError):
    """A container cannot be made as it is declared."""


def check_request(request: ContainerRequest) -> None:
    """Raise RefusedSetting for what a pod cannot have; all of it is named at once."""
    found = find_refusals(request)
    if found:
        raise RefusedSetting(
            f"container {request.name} cannot be made in a cluster",
            found=[reason for reason, _ in found],
            do=[*dict.fromkeys(do for _, do in found)],
        )


def find_refusals(request: ContainerRequest) -> list[tuple[str, str]]:
    """Reasons why a pod cannot be as it is asked for, each with the way out."""
    settings = request.settings
    return [*_refused(request), *_refused_places(request), *_refused_names(settings), *_refused_kinds(settings)]


def _refused(request: ContainerRequest) -> Iterator[tuple[str, str]]:
    udp = ", ".join(binding.name for binding in request.ports if binding.protocol != "tcp")
    if udp:
        yield f"port {udp}: the way to a pod's ports carries TCP only", "leave out ports of UDP, or use Docker"
    if request.joined:
        yield (
            "the network of another container: each pod has its own",
            "let it have its own, and reach the other by name",
        )
    if request.binds:
        paths = ", ".join(request.binds)
        yield f"{paths}: {_NODE}", "declare files=, which are copied, in place of a bind"
    names = ", ".join(name for name in request.env if not _NAME.fullmatch(name))
    if names:
        yield f"variable {names}: a cluster takes letters, digits and -_. in names", "give it another name"
    if request.user and not _NUMBERS.fullmatch(request.user):
        yield _user(request.user)


def _user(user: str) -> tuple[str, str]:
    return f"user {user!r}: Kubernetes knows users by number", "look it up in /etc/passwd of the image: user='999:999'"


def _refused_places(request: ContainerRequest) -> Iterator[tuple[str, str]]:
    settings = request.settings
    hosts = [source for _, source in settings.binds if is_host_path(source)]
    if hosts:
        yield f"{', '.join(hosts)}: {_NODE}", "declare files=, which are copied, in place of a bind"
    again = [f"{source} at {target}" for target, source in settings.binds if not is_host_path(source)]
    if again:
        yield (
            f"volume {', '.join(again)}: one volume has one place here",
            "mount it once, and link the other place to it",
        )
    for path, options in settings.tmpfs:
        owned = [word for word in options.split(",") if word.startswith(("uid=", "gid="))]
        if owned:
            yield f"tmpfs {path} with {', '.join(owned)}: all may write to one of a pod", "leave that out"


def _refused_names(settings: ContainerSettings) -> Iterator[tuple[str, str]]:
    if settings.domainname:
        yield "domainname: that of a pod is the cluster's", "leave it out"
    if settings.hostname and not _LABEL.fullmatch(settings.hostname):
        yield f"hostname {settings.hostname!r}: a pod's has small letters, digits and -", "choose another one"
    if settings.user and not _NUMBERS.fullmatch(settings.user):
        yield _user(settings.user)
    groups = [group for group in settings.group_add if not group.isdecimal()]
    if groups:
        yield f"group {', '.join(groups)}: Kubernetes knows groups by number", "look it up in /etc/group of the image"
    gateway = [name for name, address in settings.extra_hosts if address == "host-gateway"]
    if gateway:
        yield f"host {', '.join(gateway)}: {_NODE}", "give it an address that the cluster reaches"


def _refused_kinds(settings: ContainerSettings) -> Iterator[tuple[str, str]]:
    for name, value in (("devices", settings.devices), ("gpus", settings.gpus)):
        if value:
            yield (
                f"{name}: what a node has is given to pods by its device plugins",
                "name them in --isolate-pod-template",
            )
    if settings.device_cgroup_rules:
        yield "device_cgroup_rules: a pod has no such rules", "leave them out"
    if settings.ulimits:
        yield "ulimits: those of a pod are its node's", "leave them out, or set them by `ulimit` in the command"
    if settings.network:
        yield f"network {settings.network!r}: each pod has its own", "leave it out, and reach others by name"
    shared = [f"{name} {place!r}" for name, place in settings.namespaces if place != "private"]
    if shared:
        yield f"{', '.join(shared)}: each container has its own", "leave it out"
    policies = [text for text in settings.security_opt if text not in _POLICY]
    if policies:
        yield f"security_opt {', '.join(policies)}: not known here", "name it in --isolate-pod-template"
