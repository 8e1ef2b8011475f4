"""Layers of a declaration from a service of a Compose file, one for each key, so that each has its line."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

from msgspec.structs import replace

from pytest_isolate.compose_files import health, limits, mounts, network, rights
from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.images.build import translate_build, translate_variables
from pytest_isolate.compose_files.network import translate_ports
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    flag_of,
    items_of,
    resolve,
    says_something,
    table_of,
    text_of,
    texts_of,
    unsupported,
    words_of,
)
from pytest_isolate.compose_files.scalars import BadCommand, split_command
from pytest_isolate.compose_files.variables import read_env_file
from pytest_isolate.declarations.placeholders import escape
from pytest_isolate.model.declaration import Layer, RawService

# Keys of which an empty text says something: that there are no words.
_EMPTY_SAYS = ("command", "entrypoint")
Translate = Callable[[Node, ServiceContext], dict[str, object]]

_ENV_FILE_KEYS = keys("path required format")


def translate_service(around: ServiceContext, *, is_finite: bool) -> RawService:
    """Translate a service; what of it is wrong or cannot be honoured is told, and left out."""
    known = dict.fromkeys([*_WHOLE, *_BY_KEY, *NOT_TAKEN, *NOTED, *REFUSED])
    around.findings.check_keys(table_of(around.node), known)
    layers = [Layer(values={"container": {}}, location=around.node.location)]
    container: dict[str, object] = {}
    needs: list[str] = []
    for values, node in _translated(around, is_finite):
        # Several keys add to these two of ours, and each layer wins over those before it.
        settings, needed = values.get("container"), values.get("needs")
        if isinstance(settings, Mapping):
            container = mounts.join(container, settings)
            values = {**values, "container": {key: container[key] for key in settings}}
        if isinstance(needed, list):
            needs = [*dict.fromkeys([*needs, *needed])]
            values = {**values, "needs": needs}
        layers.append(Layer(values=values, location=node.location))
    read_only = around.node.get("read_only")
    files = [target for layer in layers for target in cast(Iterable[str], layer.values.get("files", ()))]
    if read_only is not None and container.get("read_only") and any(posixpath.dirname(f) == "/" for f in files):
        around.findings.note(read_only, _NO_FILES)
        layers.append(Layer(values={"container": {"read_only": False}}, location=read_only.location))
    return RawService(layers=(*layers, Layer(values={}, location=around.node.location)))


def _translated(around: ServiceContext, is_finite: bool) -> Iterator[tuple[dict[str, object], Node]]:
    """Yield our keys for each of the service's keys, with where it stands."""
    health.check_needs(around)
    yield network.translate_names(around), around.node
    for key, node in table_of(around.node).items():
        with around.findings.collecting():
            if key in REFUSED and says_something(node):
                raise unsupported(node, REFUSED[key])
            if key in NOTED and says_something(node):
                around.findings.note(node, f"is left out: {NOTED[key]}")
            # An empty text is often a variable without a value; only a command without words means something.
            if key in _BY_KEY and node.value is not None and (node.value != "" or key in _EMPTY_SAYS):
                yield _BY_KEY[key](node, around), node
    for key, translate in _WHOLE.items():
        found = around.node.get(key)
        with around.findings.collecting():
            if found is not None:
                yield translate(around), found
    yield health.translate_readiness(around), around.node.get("healthcheck") or around.node
    if is_finite:
        yield health.readiness_of_finite(), around.node


def _image(around: ServiceContext) -> dict[str, object]:
    """Translate a build where one is declared, for this service or for the image that it names; else the image."""
    node, image = around.node.get("build"), around.node.get("image")
    if node is None and image is not None and text_of(image) in around.builds:
        node = around.builds[text_of(image)]
    if node is None:
        return {"image": text_of(image)} if image is not None else {}
    return {"build": translate_build(node, around)}


def _environment(node: Node, around: ServiceContext) -> dict[str, object]:
    return {"env": {name: escape(value) for name, value in translate_variables(node, around).items()}}


def _env_files(around: ServiceContext) -> dict[str, object]:
    """Collect the variables of files, and over them those of the service itself."""
    found: dict[str, str] = {}
    files, own = around.node.get("env_file"), around.node.get("environment")
    for item in items_of(files) if files is not None else ():
        around.findings.check_keys(table_of(item), _ENV_FILE_KEYS)
        path, required, form = (item.get(key) for key in ("path", "required", "format"))
        if path is None:
            raise NodeError(item, "names no file", "path: FILE")
        if required is not None and not flag_of(required) and not around.host.kind_of(text_of(path)):
            continue
        is_raw = form is not None and text_of(form) == "raw"
        # A file may use what the files before it set.
        before = replace(around.project.variables, given={**around.project.variables.given, **found})
        found |= read_env_file(path, before, around.host, around.findings, is_raw=is_raw)
    found |= translate_variables(own, around) if own is not None else {}
    return {"env": {name: escape(value) for name, value in found.items()}}


def _words(key: str) -> Translate:
    """Make the translation of a command: a list of words, or a text that is cut into words."""

    def translate(node: Node, around: ServiceContext) -> dict[str, object]:
        if not isinstance(node.value, str):
            return {key: [escape(text_of(item)) for item in items_of(node)]}
        try:
            words, rest = split_command(node.value)
        except BadCommand as error:
            raise NodeError(node, f"cannot be cut into words: {error}", f"a list of words: {key}: [...]") from None
        if rest:
            reason = f"ends in front of {rest!r}, as with Docker Compose, which runs no shell"
            around.findings.note(node, f'{reason}; for one: {key}: ["sh", "-c", "..."]')
        return {key: [escape(word) for word in words]}

    return translate


def _setting(key: str, read: Callable[[Node], object]) -> Translate:
    return lambda node, _: {"container": {key: read(node)}}


def _open_input(node: Node, _: ServiceContext) -> dict[str, object]:
    """Translate an open input, and a terminal as no more than that: a shell does not end.

    A terminal itself is not given: the log of one does not say which lines are errors.
    """
    return {"container": {"stdin_open": True}} if flag_of(node) else {}


def _label_files(node: Node, around: ServiceContext) -> dict[str, object]:
    """Collect the labels of files; those of the service itself win."""
    found: dict[str, str] = {}
    for word in words_of(node):
        path = node.holding(resolve(word, around.project.folder))
        found |= read_env_file(path, around.project.variables, around.host, around.findings)
    labels = around.node.get("labels")
    return {"container": {"labels": found | (texts_of(labels) if labels is not None else {})}}


def _hosts(node: Node) -> dict[str, list[str]]:
    return {name: words_of(entry) for name, entry in table_of(node).items()}


# All others (`missing`, `build`, `daily`) ask for no more than that the image is there.
_PULLS = {"always": "always", "never": "never"}
_BY_KEY: Mapping[str, Translate] = {
    "cap_add": rights.translate_cap_add,
    "cap_drop": rights.translate_cap_drop,
    "command": _words("command"),
    "configs": mounts.translate_configs,
    "cgroup": rights.translate_namespace("cgroup"),
    "cpus": limits.translate_cpus,
    "deploy": limits.translate_deploy,
    "device_cgroup_rules": rights.translate_device_rules,
    "devices": rights.translate_devices,
    "dns": _setting("dns", words_of),
    "dns_opt": _setting("dns_options", words_of),
    "dns_search": _setting("dns_search", words_of),
    "domainname": _setting("domainname", text_of),
    "entrypoint": _words("entrypoint"),
    "environment": _environment,
    "extra_hosts": _setting("extra_hosts", _hosts),
    "gpus": rights.translate_gpus,
    "group_add": _setting("group_add", words_of),
    "hostname": _setting("hostname", text_of),
    "init": _setting("init", flag_of),
    "ipc": rights.translate_namespace("ipc"),
    "label_file": _label_files,
    "labels": _setting("labels", texts_of),
    "mem_limit": limits.translate_memory,
    "network_mode": network.translate_network_mode,
    "pid": rights.translate_namespace("pid"),
    "pids_limit": limits.translate_pids,
    "platform": lambda node, _: {"platform": text_of(node)},
    "privileged": rights.translate_privileged,
    "pull_policy": lambda node, _: {"pull": _PULLS.get(text_of(node), "missing")},
    "read_only": _setting("read_only", flag_of),
    "restart": _setting("restart", text_of),
    "scale": limits.translate_scale,
    "secrets": mounts.translate_secrets,
    "security_opt": rights.translate_security,
    "shm_size": lambda node, _: {"shm_size": text_of(node)},
    "stdin_open": _open_input,
    "stop_signal": _setting("stop_signal", text_of),
    "sysctls": _setting("sysctls", texts_of),
    "tmpfs": mounts.translate_tmpfs,
    "tty": _open_input,
    "ulimits": limits.translate_ulimits,
    "user": _setting("user", text_of),
    "userns_mode": rights.translate_namespace("userns"),
    "uts": rights.translate_namespace("uts"),
    "volumes": mounts.translate_volumes,
    "volumes_from": mounts.translate_volumes_from,
    "working_dir": _setting("working_dir", text_of),
}
"""Translations of keys by themselves, in the order of the file."""

_WHOLE: Mapping[str, Callable[[ServiceContext], dict[str, object]]] = {
    "image": _image,
    "build": _image,
    "cpu_period": limits.translate_quota,
    "cpu_quota": limits.translate_quota,
    "env_file": _env_files,
    "depends_on": health.translate_needs,
    "links": health.translate_needs,
    "expose": translate_ports,
    "ports": translate_ports,
}
"""Translations of keys together with others; a later one says the same as the earlier one."""

NOT_TAKEN: Mapping[str, str] = {
    "annotations": "for other programs that look at containers",
    "attach": "logs are shown with the tests that fail",
    "container_name": "taken as a name on the stack's network only, so that stacks fit side by side",
    "develop": "for development",
    "extends": "has been followed before",
    "healthcheck": "has been looked at as a whole",
    "logging": "logs are read by this plugin",
    "mem_reservation": "no limit",
    "networks": "their names are taken; a stack has one network",
    "profiles": "have been chosen before",
    "pull_refresh_after": "an image is pulled when it is missing",
    "stop_grace_period": "containers are ended at once at the end of a run",
}
"""Keys that change nothing for tests, with the reason."""

_NO_FILES = "is left out: a file right in the root folder cannot be put into a container that is read-only"
_FINE = "limits are memory, cpus, pids, shm_size and ulimits"
_SWAP = "services have no swap"
_NOT_RUN = "commands around the start and end of a service are not run"
NOTED: Mapping[str, str] = {
    "blkio_config": _FINE,
    "cgroup_parent": "the engine chooses where a container is in the tree of control groups",
    "cpu_count": _FINE,
    "cpu_percent": _FINE,
    "cpu_rt_period": _FINE,
    "cpu_rt_runtime": _FINE,
    "cpu_shares": _FINE,
    "cpuset": _FINE,
    "credential_spec": "for Windows",
    "external_links": "containers that others have started are not on the stack's network",
    "isolation": "for Windows",
    "mac_address": "the engine gives addresses, so that stacks fit side by side",
    "mem_swappiness": _SWAP,
    "memswap_limit": _SWAP,
    "oom_kill_disable": "a service that has no memory left must end",
    "oom_score_adj": "which container ends first when the host has no memory left is the engine's choice",
    "post_start": _NOT_RUN,
    "pre_start": _NOT_RUN,
    "pre_stop": _NOT_RUN,
    "runtime": "the engine's own is used",
    "storage_opt": _FINE,
}
"""Keys that are left out with a note, and the reason."""

REFUSED: Mapping[str, str] = {
    "models": "no models are run",
    "provider": "a program of the host would have to be run",
    "use_api_socket": "containers are kept apart from the engine; mount its socket instead, with allow=['docker.sock']",
}
"""Keys without which a service makes no sense, and that a stack of containers cannot honour."""
