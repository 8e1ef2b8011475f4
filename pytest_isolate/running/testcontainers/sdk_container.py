"""A service's container with those methods of the docker SDK's containers that modules use, over any engine."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

from pytest_isolate.engine.api import Capability, Engine, require
from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.sharing.folders import process_folder

_CHUNK_BYTES = 64 * 1024
_MOST_BYTES = 1 << 40
_CHANGE_FOLDER = ("/bin/sh", "-c", 'cd "$0" && exec "$@"')


class WaitCancelled(BaseException):
    """A module's wait is over. No Exception: some waits take those for "not yet"."""


class ExecAnswer(NamedTuple):
    """Result of a command; `output` is a pair of streams where they were asked for apart."""

    exit_code: int
    output: Any


class Readable(Protocol):
    """An open archive."""

    def read(self) -> bytes:
        """All of it."""


class ContainerView:
    """The container of a service, as modules of testcontainers know containers."""

    def __init__(self, engine: Engine, service: str, container_id: str, health: Sequence[str]) -> None:
        self._asked = engine
        self._service = service
        self._health = health
        self.id = container_id
        self.is_given_up = False
        """True when the module is to stop waiting."""
        self.last_answer = ""
        """The last words of a command that failed, which a wait that goes on sees."""

    @property
    def _engine(self) -> Engine:
        self.check()
        return self._asked

    def check(self) -> None:
        """WaitCancelled, once it is given up."""
        if self.is_given_up:
            raise WaitCancelled

    @property
    def short_id(self) -> str:
        """The beginning of its id."""
        return self.id[:12]

    @property
    def name(self) -> str:
        """Its name on the engine."""
        return self._engine.inspect_container(self.id).name

    @property
    def status(self) -> str:
        """Running, paused or exited, at this moment."""
        state = self._engine.inspect_container(self.id)
        return "paused" if state.is_paused else "running" if state.is_running else "exited"

    @property
    def attrs(self) -> dict[str, Any]:
        """The part of what an inspection shows that waits look at: its state, and that of its health check."""
        state = self._engine.inspect_container(self.id)
        found: dict[str, Any] = {"Running": state.is_running, "ExitCode": state.exit_code or 0, "Error": ""}
        found["Status"] = "running" if state.is_running else "exited"
        if self._health and state.is_running:
            is_healthy = self._engine.run_command(self.id, self._health).exit_code == 0
            found["Health"] = {"Status": "healthy" if is_healthy else "starting"}
        return {"Id": self.id, "Name": f"/{state.name}", "State": found}

    def reload(self) -> None:
        """Nothing is remembered: each question is asked anew."""

    def logs(self, stdout: bool = True, stderr: bool = True, tail: int | str = "all", **options: object) -> bytes:
        """Return what it has written so far to one stream or both; where the engine keeps one log, it is stdout's."""
        self._refuse_options("logs", options)
        stream = "" if stdout and stderr else "stdout" if stdout else "stderr"
        if Capability.LOG_STREAMS not in self._engine.facts().capabilities:
            if not stdout:
                return b""
            stream = ""
        text = self._engine.read_logs(self.id, tail=None if tail == "all" else int(tail), stream=stream)
        return text.encode()

    def exec_run(
        self,
        cmd: str | Sequence[str],
        stdout: bool = True,
        stderr: bool = True,
        environment: Mapping[str, str] | Sequence[str] | None = None,
        workdir: str | None = None,
        demux: bool = False,
        **options: object,
    ) -> ExecAnswer:
        """Run a command in it and wait for its end."""
        self._refuse_options("exec_run", options)
        argv = shlex.split(cmd) if isinstance(cmd, str) else list(cmd)
        result = self._engine.run_command(self.id, [*_surroundings(environment, workdir), *argv])
        out, err = (text.encode() for text in (result.stdout if stdout else "", result.stderr if stderr else ""))
        if result.exit_code:
            said = (result.stderr or result.stdout).strip().splitlines()
            self.last_answer = f"exit code {result.exit_code}" + (f": {said[-1]}" if said else "")
        return ExecAnswer(result.exit_code, (out, err) if demux else out + err)

    def put_archive(self, path: str, data: bytes | Readable) -> bool:
        """Unpack an archive in one of its folders."""
        content = data if isinstance(data, bytes) else data.read()
        self._engine.copy_into(self.id, _below(path, content))
        return True

    def get_archive(self, path: str, **options: object) -> tuple[Iterator[bytes], dict[str, Any]]:
        """A file or folder of it as an archive, in pieces."""
        self._refuse_options("get_archive", options)
        require(
            self._engine.facts(),
            Capability.FILES_OUT,
            f"get_archive({path!r}) cannot be had for the container of service {self._service!r}",
            "read the file by exec_run, with cat or base64",
        )
        with process_folder("archive") as folder:
            file = folder / "archive.tar"
            self._engine.save_archive(self.id, path, file, _MOST_BYTES)
            content = file.read_bytes()
        pieces = (content[at : at + _CHUNK_BYTES] for at in range(0, len(content), _CHUNK_BYTES))
        return pieces, {"name": Path(path).name, "size": len(content)}

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        what = f"{name!r} of the docker SDK is not there for the container of service {self._service!r}"
        own = f"containers.get({self._service}.container_id)"
        do = f"use {self._service}.stop(), {self._service}.kill() and so on; or the SDK's own: {own}"
        raise AttributeError(build_message(what, do=do))

    def _refuse_options(self, method: str, options: Mapping[str, object]) -> None:
        used = ", ".join(f"{key}={json.dumps(value, default=str)}" for key, value in options.items() if value)
        if used:
            what = f"{method}({used}) is not there for the container of service {self._service!r}"
            do = f"use the docker SDK itself: containers.get({self._service}.container_id)"
            raise IsolateError(build_message(what, do=do))


def _surroundings(environment: Mapping[str, str] | Sequence[str] | None, workdir: str | None) -> list[str]:
    pairs = [f"{k}={v}" for k, v in environment.items()] if isinstance(environment, Mapping) else environment or []
    return [*([*_CHANGE_FOLDER, str(workdir)] if workdir else []), *(["env", *pairs] if pairs else [])]


def _below(folder: str, archive: bytes) -> bytes:
    moved = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=moved, mode="w") as new:
        for entry in old:
            content = old.extractfile(entry) if entry.isfile() else None
            entry.name = f"{folder.strip('/')}/{entry.name.lstrip('/')}".lstrip("/")
            new.addfile(entry, content)
    return moved.getvalue()
