"""What a container may do: the safe defaults, and what a declaration adds to them."""

from __future__ import annotations

from pytest_isolate.model.service import MIB, ServiceSpec, Unlimited

# The engine's own default set without MKNOD, NET_RAW, SETFCAP and AUDIT_WRITE: what well-known images need to change
# to their own user, own their files, chroot and listen on a low port. SETPCAP is there because images such as `redis`
# give all others up for good before they become the server, and cannot without it.
DEFAULT_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)


# A limit for each container: without one the kernel may end the test runner instead of the service that ate it all.
DEFAULT_MEMORY_BYTES = 2048 * MIB


def memory_limit(spec: ServiceSpec) -> int | None:
    """The memory limit of a service's container; None for no limit."""
    if isinstance(spec.memory_bytes, Unlimited):
        return None
    return spec.memory_bytes or DEFAULT_MEMORY_BYTES


def capabilities(spec: ServiceSpec) -> tuple[str, ...]:
    """The capabilities of a service's container; all others are dropped."""
    if "ALL" in spec.cap_add:
        return ("ALL",)
    return tuple(dict.fromkeys((*DEFAULT_CAPABILITIES, *spec.cap_add)))


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """A text for people, without the passwords in it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
