"""Takes away, from this project's package only, what macOS or Windows lacks: LACKS says which one.

Python runs a module of this name at its start where it is on PYTHONPATH. pytest and other libraries keep what they
have: they know these systems already.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
import types
from typing import Any

PACKAGE = "pytest_isolate"
MACOS_MODULES = {"spwd", "ossaudiodev"}
WINDOWS_MODULES = {"pwd", "grp", "termios", "tty", "fcntl", "resource", "pty", "posix", "crypt", "nis", "syslog"}
MACOS_LACKS = {
    "os": {
        *("pidfd_open", "memfd_create", "eventfd", "sched_getaffinity", "sched_setaffinity", "getrandom"),
        *("splice", "copy_file_range", "getxattr", "setxattr", "listxattr", "setresuid", "getresuid", "pipe2"),
        *("posix_fallocate", "posix_fadvise", "fdatasync", "unshare", "setns", "O_PATH", "O_TMPFILE"),
    },
    "signal": {"pidfd_send_signal", "sigtimedwait", "sigwaitinfo", "SIGSTKFLT", "SIGPWR", "SIGRTMIN", "SIGRTMAX"},
    "socket": {
        "SO_PEERCRED",
        "SO_BINDTODEVICE",
        "SOCK_CLOEXEC",
        "SOCK_NONBLOCK",
        "AF_NETLINK",
        "AF_PACKET",
        "AF_VSOCK",
    },
    "select": {"epoll"},
}
WINDOWS_LACKS = {
    "os": {
        *MACOS_LACKS["os"],
        *("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getpgid", "getpgrp", "setsid"),
        *(
            "setpgid",
            "killpg",
            "nice",
            "sysconf",
            "statvfs",
            "fstatvfs",
            "posix_spawn",
            "posix_spawnp",
            "chown",
            "fchown",
        ),
        *("lchown", "fchmod", "mkfifo", "mknod", "wait", "wait3", "wait4", "waitid", "uname", "getloadavg", "sync"),
        *("O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "WNOHANG", "pread", "pwrite", "sendfile", "ttyname"),
        *("POSIX_SPAWN_OPEN", "POSIX_SPAWN_DUP2", "confstr", "getpriority", "fchdir", "chroot", "openpty"),
    },
    "signal": {
        *MACOS_LACKS["signal"],
        *("SIGHUP", "SIGKILL", "SIGQUIT", "SIGWINCH", "SIGALRM", "SIGCHLD", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGSTOP"),
        *(
            "SIGCONT",
            "SIGTSTP",
            "alarm",
            "pause",
            "setitimer",
            "pthread_kill",
            "pthread_sigmask",
            "sigwait",
            "siginterrupt",
        ),
    },
    "socket": {*MACOS_LACKS["socket"], "AF_UNIX", "send_fds", "recv_fds", "SCM_RIGHTS", "SO_REUSEPORT", "sethostname"},
    "select": {"epoll", "poll", "kqueue", "POLLIN", "POLLOUT"},
    "time": {"clock_gettime", "clock_settime", "CLOCK_MONOTONIC", "CLOCK_BOOTTIME", "tzset"},
}
LACKING_MODULES = {"macos": MACOS_MODULES, "windows": WINDOWS_MODULES}
LACKING = {"macos": MACOS_LACKS, "windows": WINDOWS_LACKS}
KERNELS_OWN = ("/proc", "/sys", "/etc/machine-id", "/run")
# Modules of Python's that open a file for their caller.
THROUGH = ("pathlib", "io", "os", "shutil", "codecs", "posixpath", "genericpath", "tempfile", __name__)


class Lacking(types.ModuleType):
    """A module of Python's as another system has it."""

    def __init__(self, real: types.ModuleType, lacks: set[str]) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _lacks=lacks)

    def __getattr__(self, name: str) -> Any:
        if name in self._lacks:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on this system")
        return getattr(self._real, name)


class NoAbstractNames:
    """Refuses a socket's name that only Linux knows."""

    def bind(self, address: Any) -> None:
        self._check(address)
        super().bind(address)  # type: ignore[misc]  # a socket's

    def connect(self, address: Any) -> None:
        self._check(address)
        super().connect(address)  # type: ignore[misc]  # a socket's

    def _check(self, address: Any) -> None:
        if isinstance(address, str) and address.startswith("\0"):
            raise FileNotFoundError(2, "No such file or directory")
        if isinstance(address, str) and len(address.encode()) > 103:
            raise OSError("AF_UNIX path too long")


def take_away(system: str) -> None:
    lacking = {name: Lacking(__import__(name), lacks) for name, lacks in LACKING[system].items()}
    real_socket = lacking["socket"]._real.socket
    lacking["socket"].__dict__["socket"] = type("socket", (NoAbstractNames, real_socket), {})
    real_import = builtins.__import__

    def importing(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level or not is_ours((globals or {}).get("__name__", "")):
            return real_import(name, globals, locals, fromlist, level)
        if name in LACKING_MODULES[system]:
            raise ModuleNotFoundError(f"No module named {name!r} on this system", name=name)
        found = real_import(name, globals, locals, fromlist, level)
        return lacking.get(getattr(found, "__name__", ""), found)

    builtins.__import__ = importing
    for module, names in ((builtins, ["open"]), (io, ["open"]), (os, ["open", "stat", "lstat", "readlink", "listdir"])):
        for name in names:
            setattr(module, name, Hiding(getattr(module, name)))


class Hiding:
    """The same function, for which this package finds nothing in the folders of Linux' kernel.

    No function, because Python 3.10's pathlib has them in a class, which would make it a method.
    """

    def __init__(self, real: Any) -> None:
        self._real = real

    def __call__(self, path: Any = ".", *args: Any, **options: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(KERNELS_OWN) and is_asked_by_us():
            raise FileNotFoundError(2, "No such file or directory", os.fspath(path))
        return self._real(path, *args, **options)


def is_asked_by_us() -> bool:
    frame: Any = sys._getframe(2)
    while frame and frame.f_globals.get("__name__") in THROUGH:
        frame = frame.f_back
    return bool(frame) and is_ours(frame.f_globals.get("__name__", ""))


def is_ours(module: str) -> bool:
    """True for a module of the package, also where Python runs it as a program."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None) if module == "__main__" else None
    return (spec.name if spec else module).partition(".")[0] == PACKAGE


if os.environ.get("LACKS"):
    take_away(os.environ["LACKS"])
