"""What a container may do: the safe defaults, and what a declaration adds to them."""

from __future__ import annotations

from pytest_isolate.model.service import ServiceSpec

# The engine's own default set without MKNOD, NET_RAW, SETPCAP, SETFCAP and AUDIT_WRITE: what well-known images need
# to change to their own user, own their files, chroot and listen on a low port.
DEFAULT_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)


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
