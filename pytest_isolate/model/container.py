"""What a container is told beside its image, command and limits: names, users, folders in memory, kernel settings."""

from __future__ import annotations

from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """A limit of the kernel for each process; -1 stands for none."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """Settings that the engine knows and this package only hands on. What is empty is left to the image and engine.

    `tmpfs` are mount options by folder, `extra_hosts` addresses by name (a name may come twice). `aliases` are names on
    the stack's network beside the plain one.
    """

    aliases: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    domainname: str = ""
    extra_hosts: Pairs = ()
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    init: bool = False
    labels: Pairs = ()
    read_only: bool = False
    stdin_open: bool = False
    stop_signal: str = ""
    sysctls: Pairs = ()
    tmpfs: Pairs = ()
    ulimits: tuple[Ulimit, ...] = ()
    user: str = ""
    working_dir: str = ""


DEFAULT_SETTINGS = ContainerSettings()
