"""This process as an owner: read from the kernel, so that a reused process id is told apart."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

from pytest_isolate.model.identity import Owner


def read_owner() -> Owner:
    """The owner that this process is."""
    pid = os.getpid()
    return Owner(
        host=_first_line("/etc/machine-id") or socket.gethostname(),
        boot=_first_line("/proc/sys/kernel/random/boot_id") or str(psutil.boot_time()),
        pid_namespace=_link("/proc/self/ns/pid"),
        pid=pid,
        start_time=f"{psutil.Process(pid).create_time():.2f}",
    )


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().partition("\n")[0].strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
