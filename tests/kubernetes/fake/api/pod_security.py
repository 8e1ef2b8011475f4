"""Pod Security admission: the levels baseline and restricted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kubernetes.fake.api import status
from kubernetes.fake.api.store import Object

LABEL = "pod-security.kubernetes.io/enforce"
_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def check(namespace: Object, pod: Object) -> None:
    """Raise the server's 403 where the level of the namespace does not let the pod in."""
    labels = namespace["metadata"].get("labels") or {}
    level, version = labels.get(LABEL, "privileged"), labels.get(f"{LABEL}-version", "latest")
    spec = pod["spec"]
    found = list(_baseline(spec)) if level in ("baseline", "restricted") else []
    if level == "restricted":
        # What the stricter rule says of capabilities is said in place of the milder one.
        strict = list(_restricted(spec))
        found = [*(text for text in found if not text.startswith("non-default cap")), *strict]
    if found:
        why = f'violates PodSecurity "{level}:{version}": {", ".join(found)}'
        raise status.forbidden("pods", pod["metadata"]["name"], why)


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _context(container: Object) -> dict[str, Any]:
    return container.get("securityContext") or {}


def _name(containers: list[Object]) -> str:
    names = ", ".join(f'"{container["name"]}"' for container in containers)
    return f"container{'s' if len(containers) > 1 else ''} {names}"


def _bad(spec: Object, is_bad: Callable[[Object], object]) -> list[Object]:
    return [container for container in _containers(spec) if is_bad(container)]


def _quote(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _baseline(spec: Object) -> Iterator[str]:
    if hosts := [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]:
        yield f"host namespaces ({', '.join(hosts)})"
    if volumes := [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]:
        yield f"hostPath volumes (volume{'s' if len(volumes) > 1 else ''} {_quote(volumes)})"
    ported = _bad(spec, lambda one: any(port.get("hostPort") for port in one.get("ports") or ()))
    if ported:
        ports = sorted({port["hostPort"] for one in ported for port in one["ports"] if port.get("hostPort")})
        verb, plural = ("use", "s") if len(ported) > 1 else ("uses", "s" if len(ports) > 1 else "")
        yield f"hostPort ({_name(ported)} {verb} hostPort{plural} {', '.join(map(str, ports))})"
    if bad := _bad(spec, lambda one: _context(one).get("privileged")):
        yield f"privileged ({_name(bad)} must not set securityContext.privileged=true)"

    def added(one: Object) -> set[str]:
        return set((_context(one).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES

    if bad := _bad(spec, added):
        names = sorted(set().union(*map(added, bad)))
        text = f"must not include {_quote(names)} in securityContext.capabilities.add"
        yield f"non-default capabilities ({_name(bad)} {text})"
    pod = spec.get("securityContext") or {}
    if sysctls := [one["name"] for one in pod.get("sysctls") or () if one["name"] not in _SYSCTLS]:
        yield f"forbidden sysctls ({', '.join(sysctls)})"
    if bad := _bad(spec, lambda one: (_context(one).get("seccompProfile") or {}).get("type") == "Unconfined"):
        yield f'seccompProfile ({_name(bad)} must not set securityContext.seccompProfile.type to "Unconfined")'


def _restricted(spec: Object) -> Iterator[str]:
    pod = spec.get("securityContext") or {}
    if bad := _bad(spec, lambda one: _context(one).get("allowPrivilegeEscalation") is not False):
        text = "must set securityContext.allowPrivilegeEscalation=false"
        yield f"allowPrivilegeEscalation != false ({_name(bad)} {text})"

    def capabilities(one: Object, key: str) -> set[str]:
        return set((_context(one).get("capabilities") or {}).get(key) or ())

    texts = []
    if bad := _bad(spec, lambda one: "ALL" not in capabilities(one, "drop")):
        texts.append(f'{_name(bad)} must set securityContext.capabilities.drop=["ALL"]')
    if bad := _bad(spec, lambda one: capabilities(one, "add") - {"NET_BIND_SERVICE"}):
        names = sorted(set().union(*(capabilities(one, "add") for one in bad)) - {"NET_BIND_SERVICE"})
        texts.append(f"{_name(bad)} must not include {_quote(names)} in securityContext.capabilities.add")
    if texts:
        yield f"unrestricted capabilities ({'; '.join(texts)})"
    for volume in spec.get("volumes") or ():
        if types := [key for key in volume if key != "name" and key not in _VOLUMES]:
            yield f'restricted volume types (volume "{volume["name"]}" uses restricted volume type "{types[0]}")'
    is_set = pod.get("runAsNonRoot") is True
    if bad := _bad(spec, lambda one: _context(one).get("runAsNonRoot", True if is_set else None) is not True):
        yield f"runAsNonRoot != true (pod or {_name(bad)} must set securityContext.runAsNonRoot=true)"
    if pod.get("runAsUser") == 0:
        yield "runAsUser=0 (pod must not set runAsUser=0)"
    if bad := _bad(spec, lambda one: _context(one).get("runAsUser") == 0):
        yield f"runAsUser=0 ({_name(bad)} must not set runAsUser=0)"
    kinds = ("RuntimeDefault", "Localhost")
    is_set = (pod.get("seccompProfile") or {}).get("type") in kinds
    if bad := _bad(
        spec,
        lambda one: (_context(one).get("seccompProfile") or {}).get("type", kinds[0] if is_set else "") not in kinds,
    ):
        text = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        yield f"seccompProfile (pod or {_name(bad)} {text})"
