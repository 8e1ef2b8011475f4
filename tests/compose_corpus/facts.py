"""Facts about the services of a Compose file in one form, from what Docker Compose says and from our declarations."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytest_isolate.declarations.placeholders import render
from pytest_isolate.model.probes import Command, Ended
from pytest_isolate.model.service import ServiceSpec, Unlimited, split_mode

Facts = dict[str, object]
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def compose_facts(config: Mapping[str, Any]) -> dict[str, Facts]:
    """The facts by service, from `docker compose config --format json`."""
    services = _undouble(config.get("services") or {})
    built = {s["image"]: s["build"] for s in services.values() if s.get("build") and s.get("image")}
    finite = {
        name
        for s in services.values()
        for name, need in (s.get("depends_on") or {}).items()
        if need["condition"] == "service_completed_successfully"
    }
    wanted = {n: s for n, s in services.items() if _copies(s) > 0}
    return {name: {**_compose_service(name, s, config, built), "ends": name in finite} for name, s in wanted.items()}


def _copies(service: Mapping[str, Any]) -> int:
    scale, deploy = service.get("scale"), service.get("deploy") or {}
    return int(deploy.get("replicas", 1) if scale is None else scale)


def _compose_service(name: str, s: Mapping[str, Any], config: Mapping[str, Any], built: Mapping[str, Any]) -> Facts:
    build = s.get("build") or built.get(s.get("image"))
    limits = ((s.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    return {
        "image": None if build else s.get("image"),
        "build": _compose_build(build) if build else None,
        "env": {k: v for k, v in (s.get("environment") or {}).items() if v is not None},
        "command": s.get("command") if s.get("command") is not None else None,
        "entrypoint": s.get("entrypoint"),
        "ports": sorted({int(p["target"]) for p in s.get("ports") or () if p.get("protocol", "tcp") == "tcp"}
                        | {n for e in s.get("expose") or () for n in _exposed(str(e))}),
        "mounts": _compose_mounts(s, config),
        "files": _compose_files(s, config),
        "health": _compose_health(s.get("healthcheck")),
        "needs": sorted(n for n, need in (s.get("depends_on") or {}).items()
                        if need.get("required", True) or n in config["services"]),
        "user": s.get("user") or "",
        "working_dir": s.get("working_dir") or "",
        "hostname": s.get("hostname") or "",
        "domainname": s.get("domainname") or "",
        "init": bool(s.get("init")),
        "stdin_open": bool(s.get("stdin_open") or s.get("tty")),
        "stop_signal": s.get("stop_signal") or "",
        "network": _network(s.get("network_mode") or "", config),
        "privileged": bool(s.get("privileged")),
        "cap_add": sorted(c.upper().removeprefix("CAP_") for c in s.get("cap_add") or ()),
        "cap_drop": sorted(c.upper().removeprefix("CAP_") for c in s.get("cap_drop") or ()),
        "dns": s.get("dns") or [],
        "dns_search": s.get("dns_search") or [],
        "dns_options": s.get("dns_opt") or [],
        "extra_hosts": sorted(_host(h) for h in s.get("extra_hosts") or ()),
        "group_add": s.get("group_add") or [],
        "labels": s.get("labels") or {},
        "sysctls": {k: str(v) for k, v in (s.get("sysctls") or {}).items()},
        "ulimits": {k: _ulimit(v) for k, v in (s.get("ulimits") or {}).items()},
        "platform": s.get("platform") or None,
        "memory": int(s.get("mem_limit") or limits.get("memory") or 0),
        "cpus": float(s.get("cpus") or limits.get("cpus") or 0),
        "pids": int(s.get("pids_limit") or limits.get("pids") or 0),
        "shm_size": int(s.get("shm_size") or 0),
        "aliases": sorted({name, s.get("container_name") or name}
                          | {a for n in (s.get("networks") or {}).values() for a in (n or {}).get("aliases") or ()}),
    }  # fmt: skip


def _compose_build(build: Mapping[str, Any]) -> Facts:
    context = build["context"]
    return {
        "context": context,
        "dockerfile": posixpath.join(context, build.get("dockerfile", "Dockerfile")),
        "args": {k: v for k, v in (build.get("args") or {}).items() if v is not None},
        "target": build.get("target"),
        "network": build.get("network"),
    }


def _compose_mounts(s: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, object]:
    """The mounts of a service, with those that it has from others (where tmpfs is no volume)."""
    found: dict[str, object] = {}
    for text in s.get("volumes_from") or ():
        name, _, mode = text.removeprefix("container:").partition(":")
        volumes = config["services"][name].get("volumes") or ()
        if mode == "ro":
            volumes = [{**mount, "read_only": True} for mount in volumes]
        found |= _compose_mounts({"volumes": volumes}, config)
    for mount in s.get("volumes") or ():
        target, kind = posixpath.normpath(mount["target"]), mount["type"]
        source = mount.get("source", "")
        options = ((config.get("volumes") or {}).get(source) or {}).get("driver_opts") or {}
        if kind == "volume" and options.get("o") == "bind":
            kind, source = "bind", options["device"]
        if kind == "bind":
            source = posixpath.normpath(source)
        mode = " ro" if mount.get("read_only") else ""
        found[target] = f"{kind} {source}".strip() + mode if kind != "tmpfs" else "tmpfs"
    for text in s.get("tmpfs") or ():
        found[posixpath.normpath(text.partition(":")[0])] = "tmpfs"
    return found


def _compose_files(s: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    for section, folder in (("secrets", "/run/secrets"), ("configs", "/")):
        for grant in s.get(section) or ():
            declared = config[section][grant["source"]]
            path = posixpath.join(folder, grant.get("target") or grant["source"])
            mode = grant.get("mode")
            mode = 0o444 if mode is None else int(mode, 8) if isinstance(mode, str) else mode
            owner = f" {grant.get('uid') or 0}:{grant.get('gid') or 0}".replace(" 0:0", "")
            found[path] = f"{declared.get('file') or 'text'} {mode:o}{owner}"
    return found


def _compose_health(check: Mapping[str, Any] | None) -> object:
    if not check:
        return None
    test = check.get("test") or []
    if check.get("disable") or test == ["NONE"]:
        return "none"
    if not test:
        return None
    argv = test[1:] if test[0] == "CMD" else ["/bin/sh", "-c", *test[1:]]
    wait = [_seconds(check.get(key) or "0s") or standard for key, standard in (("interval", 30.0), ("timeout", 30.0))]
    start = _seconds(check.get("start_period") or "0s")
    return argv, max(60.0, start + (check.get("retries") or 3) * wait[0] + wait[1])


def _seconds(text: str) -> float:
    return sum(float(n) * _SECONDS[unit] for n, unit in re.findall(r"([\d.]+)(h|ms|m|us|µs|ns|s)", text))


def _network(mode: str, config: Mapping[str, Any]) -> str:
    """The network that is not the stack's own one: the host's, or that of another service."""
    kind, _, name = mode.partition(":")
    if kind == "container":
        kind, name = "service", next(n for n, s in config["services"].items() if s.get("container_name") == name)
    return f"service:{name}" if kind == "service" else "host" if kind == "host" else ""


def _our_network(network: str, member: Callable[[str], str]) -> str:
    kind, _, name = network.partition(":")
    return f"service:{member(name)}" if kind == "service" else network


def _ulimit(limit: Any) -> tuple[int, int]:
    if isinstance(limit, Mapping):
        single = limit.get("single", 0)
        return limit.get("soft", single), limit.get("hard", single)
    return limit, limit


def _exposed(text: str) -> Iterable[int]:
    port, _, protocol = text.partition("/")
    if protocol not in ("", "tcp"):
        return []
    first, _, last = port.partition("-")
    return range(int(first), int(last or first) + 1)


def _host(text: str) -> str:
    name, _, address = text.replace("=", ":", 1).partition(":")
    return f"{name}={address.strip('[]')}"


def _undouble(value: Any) -> Any:
    """Dollar signs are doubled in what Compose prints."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_undouble(item) for item in value]
    return {_undouble(k): _undouble(v) for k, v in value.items()} if isinstance(value, dict) else value


def our_facts(spec: ServiceSpec, member: Callable[[str], str]) -> Facts:
    """The facts of a service as it is planned. `member` gives the name in the file of a name in the stack."""
    settings = spec.container
    argv = [p.argv for p in spec.ready if isinstance(p, Command)]
    return {
        "image": spec.image,
        "build": _our_build(spec),
        "env": {k: _plain(v) for k, v in spec.env},
        "command": None if spec.command is None else [_plain(w) for w in spec.command],
        "entrypoint": None if spec.entrypoint is None else [_plain(w) for w in spec.entrypoint],
        "ports": sorted(spec.ports),
        "mounts": _our_mounts(spec),
        "files": _our_files(spec),
        "health": (list(argv[0]), spec.timeout_s) if argv else None,
        "ends": Ended() in spec.ready,
        "needs": sorted(map(member, spec.needs)),
        "user": settings.user,
        "working_dir": settings.working_dir,
        "hostname": settings.hostname,
        "domainname": settings.domainname,
        "init": settings.init,
        "stdin_open": settings.stdin_open,
        "stop_signal": settings.stop_signal,
        "network": _our_network(settings.network, member),
        "privileged": settings.privileged,
        "cap_add": sorted(spec.cap_add),
        "cap_drop": sorted(settings.cap_drop),
        "dns": list(settings.dns),
        "dns_search": list(settings.dns_search),
        "dns_options": list(settings.dns_options),
        "extra_hosts": sorted(f"{name}={address}" for name, address in settings.extra_hosts),
        "group_add": list(settings.group_add),
        "labels": dict(settings.labels),
        "sysctls": dict(settings.sysctls),
        "ulimits": {u.name: (u.soft, u.hard) for u in settings.ulimits},
        "platform": spec.platform,
        "memory": spec.memory_bytes if isinstance(spec.memory_bytes, int) else 0,
        "cpus": spec.cpus or 0.0,
        "pids": 0 if isinstance(spec.pids, Unlimited) or spec.pids == 1024 else spec.pids,
        "shm_size": spec.shm_bytes or 0,
        "aliases": sorted({member(spec.name), *settings.aliases}),
    }


def _our_build(spec: ServiceSpec) -> Facts | None:
    build = spec.build
    if build is None:
        return None
    return {
        "context": build.context,
        "dockerfile": build.dockerfile,
        "args": dict(build.args),
        "target": build.target,
        "network": build.network,
    }


def _our_mounts(spec: ServiceSpec) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, targets in spec.volumes:
        for target in (targets,) if isinstance(targets, str) else targets:
            kind = "bind" if name.startswith(("empty:", "/")) else "volume"
            source = name.removeprefix("empty:")
            is_unnamed = bool(re.fullmatch(r".+-\d+", name)) and kind == "volume"
            path, is_read_only = split_mode(target)
            found[path] = (kind if is_unnamed else f"{kind} {source}") + " ro" * is_read_only
    for path, bound in spec.container.binds:
        source, is_read_only = split_mode(bound)
        found[path] = f"bind {source}" + " ro" * is_read_only
    return {**found, **{path: "tmpfs" for path, _ in spec.container.tmpfs}}


def _our_files(spec: ServiceSpec) -> dict[str, object]:
    granted = (f for f in spec.files if f.mode is not None)
    return {f.target: f"{f.source or 'text'} {f.mode:o} {f.owner}".strip() for f in granted}


def _plain(text: str) -> str:
    return render(text, lambda name: f"<{name}>")
