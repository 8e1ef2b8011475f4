"""A build by `docker buildx build`, for what the engine's API does not take: agents, other builders, other caches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from pytest_isolate.engine.api import BuildRequest, Progress, ProgressCallback
from pytest_isolate.engine.docker.building.trace import Failure, read_step
from pytest_isolate.engine.docker.commands import build_arguments
from pytest_isolate.engine.docker.transport.connections import Endpoint
from pytest_isolate.engine.docker.wire import describe_dockerfile
from pytest_isolate.errors import EngineError
from pytest_isolate.text import plain_text

_COMMAND = ("docker", "buildx")
_ASKED_FOR_S = 30
# "#5 [2/3] RUN make", "#5 CACHED", "#5 0.612 what it prints", "#5 ERROR: ...".
_LINE = re.compile(r"#(?P<number>\d+) (?P<text>.*)")
_MOST_LINES = 40
_INSTALL = (
    "install the plugin: apt-get install docker-buildx (docker-buildx-plugin from Docker's own packages), "
    "or brew install docker-buildx",
    "or leave out the keys ssh, builder, contexts, cache_to, and cache_from with type= of build",
)


def build(endpoint: Endpoint, request: BuildRequest, tell: ProgressCallback) -> Failure | None:
    """Build and load an image; return why it failed. EngineError where there is no such command."""
    env = {**os.environ, **_environment(endpoint)}
    _check_command(request, env)
    # Of several builders that the user may have, the engine's own is meant where none is named.
    builder = [] if request.builder else ["--builder", "default"]
    command = [*_COMMAND, "build", "--load", "--progress", "plain", *builder, *build_arguments(request)]
    process = subprocess.Popen(  # noqa: S603  # without a shell
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=env,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdin
    assert process.stderr
    try:
        with process.stdin as to_read:
            to_read.write(request.inline or "")
        step, output = _follow(process.stderr, tell)
        if process.wait() == 0:
            return None
        return Failure(step=step, output=output, error="")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _follow(lines: Iterable[str], tell: ProgressCallback) -> tuple[str, list[str]]:
    """Tell of the steps; the one that failed, or the last one, and the last lines of all."""
    names: dict[str, str] = {}
    failed = last = ""
    output: deque[str] = deque(maxlen=_MOST_LINES)
    for line in map(plain_text, lines):
        match = _LINE.fullmatch(line.strip())
        if not match:
            output.append(line.rstrip())
            continue
        number, text = match["number"], match["text"]
        for progress in _progress(names, number, text):
            last = names[number]
            tell(progress)
        if text.startswith("ERROR"):
            failed = names.get(number, "")
    return failed or last or " ".join([*_COMMAND, "build"]), [line for line in output if line and line != "------"]


def _progress(names: dict[str, str], number: str, text: str) -> Iterator[Progress]:
    """Yield a step when it begins, and once more when it comes from the cache."""
    if text == "CACHED" and number in names:
        found = read_step(names[number])
        if found and not found.text.startswith("FROM "):
            yield Progress(text=f"{found.text} (cached)", done=found.number, total=found.count, unit="steps")
    elif number not in names:
        names[number] = text
        found = read_step(text)
        if found:
            yield Progress(text=found.text, done=found.number, total=found.count, unit="steps")


def _environment(endpoint: Endpoint) -> Mapping[str, str]:
    """Environment in which the docker command speaks to the same engine."""
    env = {"DOCKER_HOST": endpoint.address, "DOCKER_CONTEXT": "", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    if endpoint.certificates:
        env |= {"DOCKER_CERT_PATH": endpoint.certificates, "DOCKER_TLS": "1"}
        env["DOCKER_TLS_VERIFY"] = "1" if endpoint.is_verified else ""
    return env


def _check_command(request: BuildRequest, env: Mapping[str, str]) -> None:
    program = shutil.which(_COMMAND[0], path=env.get("PATH"))
    found = "there is no command docker here"
    if program:
        asked = subprocess.run(  # noqa: S603  # without a shell
            [*_COMMAND, "version"], capture_output=True, encoding="utf-8", env=env, timeout=_ASKED_FOR_S, check=False
        )
        if asked.returncode == 0:
            return
        found = (asked.stderr.strip().splitlines() or ["it ended without a word"])[0]
    raise EngineError(
        f"the image of {describe_dockerfile(request)} could not be built",
        tried=" ".join([*_COMMAND, "version"]),
        found=[found, "what its declaration asks for is not to be had by the engine's API, only by that command"],
        do=_INSTALL,
    )
