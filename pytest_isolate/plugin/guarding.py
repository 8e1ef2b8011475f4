"""Starts the guardian and connects to it. Why it exists: see running.guardian."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import Run
from pytest_isolate.running.guardian import ARMED, Link

# It is armed within 0.1 s; a machine that is busy starting sixteen workers may take longer.
_ARMED_WITHIN_S = 60


def start_guardian(run: Run, address: str = "") -> str:
    """The name of a guardian that watches the owner of the run and is armed; EngineError where it does not arm.

    It looks for the engine as the plugin does, or at the address.
    """
    name = f"pytest-isolate-{run.run_id}-{secrets.token_hex(16)}"
    package = Path(__file__).parent.parent.parent
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    try:
        # This process ends when the guardian is armed; the guardian itself is nobody's child.
        starter = subprocess.run(  # noqa: S603  # our own interpreter and module
            [
                *(sys.executable, "-m", "pytest_isolate.cli.guardian"),
                *(name, run.run_id, str(run.owner.pid), run.owner.start_time),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ARMED_WITHIN_S,
            check=False,
            env={**os.environ, "PYTHONPATH": path, **({"DOCKER_HOST": address} if address else {})},
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _not_armed(str(error)) from error
    if starter.stdout != ARMED:
        raise _not_armed(starter.stderr.decode(errors="replace").strip())
    return name


def connect_to_guardian(name: str) -> Link:
    """A connection to the guardian of the run; EngineError when it is gone, for nothing may start without it."""
    try:
        return Link(name)
    except OSError as error:
        raise EngineError(
            "the guardian, which removes everything if pytest is killed, is gone; so nothing more is started",
            found=str(error),
            do="see what ended it: it takes no notice of signals but SIGKILL",
        ) from error


def _not_armed(found: str) -> EngineError:
    return EngineError(
        "the guardian, which removes everything if pytest is killed, did not start; so nothing was started",
        found=found or "it ended without a word",
        do="python -m pytest_isolate.cli.guardian must be able to run and to reach the engine",
    )
