"""Rights and limits of a container: the safe defaults, and what a declaration adds to them."""

from __future__ import annotations

from pathlib import PurePosixPath

from pytest_isolate.model.fresh import COPY_METHODS
from pytest_isolate.model.service import MIB, ServiceSpec, Unlimited, split_mode

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
# Where a server whose own data is on disk keeps the copies that last as long as a test.
COPIES = "/srv/isolate-copies"
# A limit for each container: without one the kernel may end the test runner instead of the service that ate it all.
DEFAULT_MEMORY_BYTES = 2048 * MIB


def memory_limit(spec: ServiceSpec) -> int | None:
    """The memory limit of a service's container; None for no limit."""
    if isinstance(spec.memory_bytes, Unlimited):
        return None
    return spec.memory_bytes or DEFAULT_MEMORY_BYTES


def memory_folders(
    spec: ServiceSpec, size_bytes: int, *, starts_from_snapshot: bool, is_copied: bool
) -> dict[str, int]:
    """The folders that a container keeps in memory, with the most bytes of each.

    Where the data comes from a snapshot, only the copies made of it. None where the user has limited the memory, of
    which they would take a part, none that lie in a volume of the user's, and none that hold a file of the user's.
    """
    if not spec.in_memory or not size_bytes or isinstance(spec.memory_bytes, int):
        return {}
    if starts_from_snapshot:
        has_folder = spec.copies is not None and COPY_METHODS[spec.copies].has_memory_folder
        return {COPIES: size_bytes} if is_copied and has_folder else {}
    volumes = [split_mode(target)[0] for _, target in spec.volumes]
    places = [PurePosixPath(path) for path in (*volumes, *(file.target for file in spec.files))]
    own = [path for path in spec.in_memory if not any(PurePosixPath(path).is_relative_to(v) for v in volumes)]
    # What is copied into a created container is lost where memory is mounted anew at its start.
    return dict.fromkeys((path for path in own if not any(p.is_relative_to(path) for p in places)), size_bytes)


def capabilities(spec: ServiceSpec) -> tuple[str, ...]:
    """The capabilities of a service's container; all others are dropped."""
    if "ALL" in spec.cap_add:
        return ("ALL",)
    dropped = spec.container.cap_drop
    kept = () if "ALL" in dropped else (name for name in DEFAULT_CAPABILITIES if name not in dropped)
    return tuple(dict.fromkeys((*kept, *spec.cap_add)))
