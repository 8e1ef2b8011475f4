"""A service and a stack as declared, checked and complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import ExternalService
from pytest_isolate.model.host_path import is_absolute
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import Command, Ended, Http, Probe

HUB = "docker.io"


def split_image(image: str) -> tuple[str, str]:
    """The registry of an image's name, and the rest (Docker's documentation of `docker tag`)."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (HUB if first == f"index.{HUB}" else first), rest
    return HUB, image


Pairs = tuple[tuple[str, str], ...]
"""A read-only mapping that can be hashed: sorted (key, value) pairs."""


_READ_ONLY = ":ro"


def is_host_path(volume: str) -> bool:
    """True for a volume that stands for a file or folder of this host, and not for one of the stack's own."""
    return is_absolute(volume)


def split_mode(target: str) -> tuple[str, bool]:
    """The place of a mount, and true where its container may only read."""
    return target.removesuffix(_READ_ONLY), target.endswith(_READ_ONLY)


OF_SERVICE = "service:"
"""Stands in front of the name of a service whose network or namespace another one has."""


class Ulimit(Struct, frozen=True, kw_only=True):
    """A limit of the kernel for each process; -1 stands for none."""

    name: str
    soft: int
    hard: int


class ContainerSettings(Struct, frozen=True, kw_only=True):
    """Settings that the engine knows and this package only hands on. What is empty is left to the image and engine.

    `tmpfs` are mount options by folder, `extra_hosts` addresses by name (a name may come twice). `aliases` are names on
    the stack's network beside the plain one. `binds` are paths on the engine's host by path inside, with `:ro` behind
    them or not; `devices` are written `HOST:INSIDE:RIGHTS`. `network` is `host` or, as the value of a namespace may be,
    `service:NAME`: that of another service of the stack. `restart` is the policy for a container that ends before it is
    ready; the engine is not told of it.
    """

    aliases: tuple[str, ...] = ()
    binds: Pairs = ()
    cap_drop: tuple[str, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    domainname: str = ""
    extra_hosts: Pairs = ()
    gpus: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    init: bool = False
    labels: Pairs = ()
    namespaces: Pairs = ()
    network: str = ""
    privileged: bool = False
    read_only: bool = False
    restart: str = ""
    security_opt: tuple[str, ...] = ()
    stdin_open: bool = False
    stop_signal: str = ""
    sysctls: Pairs = ()
    tmpfs: Pairs = ()
    ulimits: tuple[Ulimit, ...] = ()
    user: str = ""
    working_dir: str = ""


DEFAULT_SETTINGS = ContainerSettings()


class BuildSecret(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A secret that a build may read, never itself part of a declaration: a variable of the environment, or a file."""

    name: str
    env: str = ""
    file: str = ""


class Build(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """An image that is made from a Dockerfile. Paths are absolute. `inline` is the Dockerfile's text, in place of it.

    `ssh`, `cache_from`, `cache_to` and `builder` are written as for `docker buildx build`; `contexts` are folders, or
    such addresses as it takes, by name.
    """

    context: str
    dockerfile: str
    args: Pairs = ()
    target: str | None = None
    network: str | None = None
    inline: str | None = None
    secrets: tuple[BuildSecret, ...] = ()
    ssh: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    builder: str | None = None
    contexts: Pairs = ()
    labels: Pairs = ()
    extra_hosts: Pairs = ()
    shm_bytes: int | None = None


class File(Struct, frozen=True, kw_only=True):
    """A file put into the container before it starts: a text with placeholders, bytes, or a file or folder of the host.

    Without a mode, a text is readable by all, and what is copied keeps its own. `owner` is `USER` or `USER:GROUP`, by
    names that the image has or by numbers; root where it is empty.
    """

    target: str
    text: str | None = None
    data: bytes | None = None
    source: str | None = None
    mode: int | None = None
    owner: str = ""


# -- a service's life, and its state after each test -------------------------------------------------------------------


class Scope(IntEnum):
    """pytest's own scopes; a wider one compares greater."""

    FUNCTION = 1
    CLASS = 2
    MODULE = 3
    PACKAGE = 4
    SESSION = 5

    @property
    def word(self) -> str:
        """pytest's name for it."""
        return self.name.lower()


SCOPES = {scope.word: scope for scope in Scope}
SHARES = ("run", "worker")


class Pristine(Struct, frozen=True, kw_only=True):
    """The state in which the service became ready, by the way that its key `copies` names."""


class ResetFunction(Struct, frozen=True, kw_only=True):
    """A function of the user's, called with the service's handle."""

    function: Callable[[Any], object]


Reset = Pristine | Command | Http | ResetFunction
RESET_METHOD = "POST"
"""The method of an HTTP call that resets, where it does not say."""


def describe_reset(reset: Reset) -> str:
    """A short text for messages, such as `POST /reset`; the same in every process."""
    match reset:
        case Pristine():
            return "the preset's own way"
        case Command(argv=argv):
            return f"{' '.join(argv)} in its container"
        case Http(path=path, port=port, method=method):
            return f"{method or RESET_METHOD} {path}" + (f" on port {port}" if port else "")
        case ResetFunction(function=function):
            return f"{getattr(function, '__qualname__', type(function).__qualname__)}(...)"


# -- containers of testcontainers, as far as they are known without an engine ------------------------------------------


class Refusal(NamedTuple):
    """A setting of a module that cannot be honoured, and what to do about it."""

    reason: str
    do: str


class DryRun(Struct, frozen=True, kw_only=True):
    """The container of a module in the keys of `service()`. With `has_wait` it brings a wait of its own along."""

    values: Mapping[str, object] = {}
    refusals: tuple[Refusal, ...] = ()
    has_wait: bool = False


@runtime_checkable
class Module(Protocol):
    """A container of testcontainers, or what makes one, as it was declared. `str()` of it is for people."""

    @property
    def name(self) -> str:
        """The name of its class, or of what makes it."""

    def rehearse(self) -> DryRun:
        """Find out what it starts. Asked for again, the answer is the same one."""


# -- the service, and its stack ----------------------------------------------------------------------------------------


class Unlimited(Enum):
    """Stands for the explicit absence of a limit."""

    UNLIMITED = "unlimited"


UNLIMITED = Unlimited.UNLIMITED
MIB = 1024 * 1024
_ASSUMED_BYTES = 256 * MIB


DEFAULT_PIDS = 1024
"""Processes that a service may have unless it declares another limit."""


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """One service, complete and checked. `ports[0]`, where there is one, is the port of `url` and of the handle.

    `ports` are of TCP; `udp_ports` are written as `8125/udp`, and nothing asks them.
    """

    name: str
    image: str | None = None
    build: Build | None = None
    pull: str | None = None
    platform: str | None = None
    ports: tuple[int, ...] = ()
    udp_ports: tuple[str, ...] = ()
    env: Pairs = ()
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    files: tuple[File, ...] = ()
    volumes: Pairs = ()
    snapshot: tuple[str, ...] = ()
    in_memory: tuple[str, ...] = ()
    ready: tuple[Probe, ...] = ()
    timeout_s: float = 60.0
    memory_bytes: int | Unlimited | None = None
    shm_bytes: int | None = None
    cpus: float | None = None
    pids: int | Unlimited = DEFAULT_PIDS
    cap_add: tuple[str, ...] = ()
    new_privileges: bool = False
    container: ContainerSettings = DEFAULT_SETTINGS
    needs: tuple[str, ...] = ()
    url: str | None = None
    user: str | None = None
    password: str | Secret | None = None
    database: str | None = None
    copies: str | None = None
    reset: Reset | None = None
    module: Module | None = None
    scope: Scope = Scope.SESSION
    share: str = "run"
    external: ExternalService | None = None
    location: Location

    @property
    def sources(self) -> tuple[str, ...]:
        """Files and folders of this host whose content its container is given."""
        copied = [file.source for file in self.files if file.source]
        return tuple(dict.fromkeys([*copied, *(name for name, _ in self.volumes if is_host_path(name))]))

    @property
    def reserved_bytes(self) -> int:
        """Its part of the run's budget: its own limit where it declares one, else what a small service takes."""
        return self.memory_bytes if isinstance(self.memory_bytes, int) else _ASSUMED_BYTES

    @property
    def may_end(self) -> bool:
        """True where its end with code 0 is all that was wanted: it is asked for that, or gives nothing to ask."""
        return Ended() in self.ready or not (self.ready or self.ports or self.module)

    @property
    def source(self) -> str:
        """The image or the build, for people; of one that runs already, its address."""
        if self.external:
            return f"runs at {self.external}"
        return self.image or (f"build of {self.build.context}" if self.build else "")


def host_name(name: str) -> str:
    """A service's name as URLs may have it: programs such as Django refuse a host with an underscore (RFC 952)."""
    written = name.replace("_", "-")
    return name if written.startswith("-") or written.endswith("-") else written


class StackSpec(Struct, frozen=True, kw_only=True):
    """Services on one private network. The default stack of a place has no name."""

    name: str
    services: tuple[ServiceSpec, ...]
    native_ports: bool = False
    scope: Scope = Scope.SESSION
    share: str = "run"
    location: Location


class StackId(Struct, frozen=True, order=True):
    """A stack, and the place in the test tree (pytest's base id of the fixture) that declares it."""

    namespace: str
    name: str = ""

    def __str__(self) -> str:
        return self.name or "default"


class ServiceId(Struct, frozen=True, order=True):
    """A service within its stack."""

    stack: StackId
    name: str

    def __str__(self) -> str:
        return f"{self.stack.name}.{self.name}" if self.stack.name else self.name


class Change(Struct, frozen=True, order=True):
    """A difference that a test has from a declared service: an alternative (`=postgres-16`) or an override.

    `origin` is the place in the test tree that declares the alternatives. An override's label holds a digest, so equal
    changes are equal services.
    """

    service: ServiceId
    label: str
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.service}{self.label}"


Variation = tuple[Change, ...]
"""The changes that reach a service, its own and those of what it needs; sorted."""


def describe_alternatives(service: ServiceId, variation: Variation) -> str:
    """Name an instance's alternatives for people: `[postgres-16]`, `[db=postgres-16]` of what needs it, or nothing.

    Overrides are left out: each test may have some of its own.
    """
    words = []
    for change in variation:
        alternative = change.label.partition("~")[0].removeprefix("=")
        near = change.service.name if change.service.stack == service.stack else str(change.service)
        words += [alternative if change.service == service else f"{near}={alternative}"] if alternative else []
    return f"[{','.join(words)}]" if words else ""


def describe_variation(variation: Variation) -> str:
    """A text that differs for different changes; empty for none."""
    return "".join(f" {c.service.stack.namespace} {c.origin} {c}" for c in variation)
