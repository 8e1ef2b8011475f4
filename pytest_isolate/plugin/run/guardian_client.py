"""Starts the guardian and connects to it. Why it exists: see running.cleanup.guardian."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path

from pytest_isolate.errors import EngineError, IsolateError
from pytest_isolate.model.identity import Run
from pytest_isolate.running.cleanup.guardian import ARMED, Link
from pytest_isolate.system import SYSTEM, System

# It is armed within 0.1 s; a machine that is busy starting sixteen workers may take longer.
_ARMED_WITHIN_S = 60
# The inode of the PID namespace that the kernel starts with (PROC_PID_INIT_INO, include/linux/proc_ns.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
# The variables by which an engine is found begin so.
_ENGINE_FOUND_BY = (
    *("COLIMA_HOME", "CONTAINER", "DOCKER_", "HOME", "KUBE", "PATH", "PYTEST_ISOLATE_", "SSH_", "USERPROFILE", "XDG_"),
)


class GuardianProcess:
    """A guardian that is being started: it watches the owner of the run.

    It looks for the engine as the plugin does, or at the address; where a program is named, that is to serve there.
    """

    def __init__(self, run: Run, address: str = "", program: str = "") -> None:
        name = f"pytest-isolate-{run.run_id}-{secrets.token_hex(16)}"
        self._found_by = _found_by(os.environ)
        self._is_awaited = False
        package = Path(__file__).parents[3]
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        try:
            # This process ends when the guardian is armed; the guardian itself is then a child of init.
            self._starter = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [
                    *(sys.executable, "-m", "pytest_isolate.cli.guardian"),
                    *(name, run.run_id, str(run.owner.pid), run.owner.start_time, program),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # It leaves this folder, and is to find ours among the temporary ones.
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "TMPDIR": tempfile.gettempdir(),
                    **({"DOCKER_HOST": address} if address else {}),
                },
                start_new_session=True,
            )
        except OSError as error:
            raise _not_armed(str(error)) from error

    def wait(self) -> str:
        """Its address, once it is armed; EngineError where it does not arm."""
        self._is_awaited = True
        try:
            stdout, stderr = self._starter.communicate(timeout=_ARMED_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            self._starter.kill()
            self._starter.communicate()
            raise _not_armed(str(error)) from error
        if not stdout.startswith(ARMED):
            raise _not_armed(stderr.decode(errors="replace").strip())
        return stdout.removeprefix(ARMED).decode().strip()

    def finds_the_same(self, env: Mapping[str, str]) -> bool:
        """True if an engine would be found as it was when the guardian was started."""
        return self._found_by == _found_by(env)

    def cancel(self) -> None:
        """End a guardian that was never waited for, armed or not: there is nothing for it to remove."""
        if self._is_awaited:
            return
        if sys.platform != "win32" and hasattr(os, "killpg"):
            # It is not reaped before it is waited for, so no other group can have its number yet. macOS does not
            # permit to kill a group of which only that is left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._starter.pid, signal.SIGKILL)
            self._starter.communicate()
        else:
            with suppress(EngineError, OSError):  # it is not armed, or gone
                link = Link(self.wait())
                link.say_bye()
                link.close()


def survives_this_process(env: Mapping[str, str] = os.environ, pid_namespace: str = "/proc/self/ns/pid") -> bool:
    """True if a guardian goes on when pytest has ended.

    Not where all may be killed with it: in a container, which ends with its first process, or in a job of a CI service.
    """
    if SYSTEM is not System.LINUX:
        return not env.get("CI")
    return not env.get("CI") and os.stat(pid_namespace).st_ino == _FIRST_PID_NAMESPACE


def connect_to_guardian(address: str) -> Link:
    """A connection to the guardian of the run; EngineError when it is gone, for nothing may start without it."""
    try:
        return Link(address)
    except OSError as error:
        raise EngineError(
            "the guardian, which removes everything if pytest is killed, is gone; so nothing more is started",
            found=str(error),
            do="see what ended it: it takes no notice of signals but SIGKILL",
        ) from error


class GuardianClient:
    """This process's connection to the guardian of its run, which may still be arming when the run begins.

    `armed` is the guardian's address; empty where there is none to wait for, for an engine of a plugin's own.
    """

    def __init__(self, armed: Future[str]) -> None:
        self._armed = armed
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._is_closed = False

    def require(self) -> None:
        """Return when the guardian watches; EngineError when it does not, for nothing may be started without it."""
        self._connect()

    def hold(self, descriptors: list[int]) -> None:
        """Let the guardian keep sockets open until the run ends."""
        link = self._connect()
        if link:
            link.hold(descriptors)

    def on_closing(self, stop: Callable[[], None]) -> None:
        """Call `stop`, in a thread of its own, when the guardian says that the controller is gone."""
        threading.Thread(target=self._wait_for_closing, args=(stop,), name="isolate-guard", daemon=True).start()

    def close(self) -> None:
        """Close the connection; one that is still being made is waited for, so that no guardian is left behind."""
        wait([self._armed], timeout=_ARMED_WITHIN_S)
        with self._lock:
            self._is_closed = True
            if self._link:
                self._link.close()

    def _wait_for_closing(self, stop: Callable[[], None]) -> None:
        try:
            link = self._connect()
        except IsolateError:
            return  # told where a service is to be started
        if link and link.wait_for_closing():
            stop()

    def _connect(self) -> Link | None:
        address = self._armed.result()
        with self._lock:
            if address and not self._link and not self._is_closed:
                self._link = connect_to_guardian(address)
            return self._link


def _found_by(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_ENGINE_FOUND_BY)}


def _not_armed(found: str) -> EngineError:
    return EngineError(
        "the guardian, which removes everything if pytest is killed, did not start; so nothing was started",
        found=found or "it ended without a word",
        do="python -m pytest_isolate.cli.guardian must be able to run and to reach the engine",
    )
