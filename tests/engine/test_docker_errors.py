"""Every exception that the docker SDK and what it stands on can raise becomes one of ours; so does a missing engine."""

from __future__ import annotations

import inspect
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import docker.errors
import docker.tls
import pytest
import requests.exceptions
import urllib3.exceptions

from pytest_isolate.engine.connect import connect
from pytest_isolate.engine.docker.sdk import translated
from pytest_isolate.errors import EngineError, EngineUnreachable


def exceptions_of(module: ModuleType, base: type[Exception] = Exception) -> list[type[Exception]]:
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    return [c for c in classes if issubclass(c, base) and not issubclass(c, Warning)]


ALL = [
    *exceptions_of(docker.errors),
    *exceptions_of(requests.exceptions),
    *exceptions_of(urllib3.exceptions, urllib3.exceptions.HTTPError),
    ConnectionRefusedError,
    ConnectionResetError,
    BrokenPipeError,
    FileNotFoundError,
    PermissionError,
    TimeoutError,
    socket.gaierror,
]


def bare(cls: type[Exception]) -> Exception:
    """An instance, made with as many arguments as its class asks for."""
    mock = Mock(length=0, length_remaining=0, tell=lambda: 0)
    for value in ("said the library", 0, mock):
        for count in range(1, 6):
            with suppress(TypeError, AttributeError, ValueError):
                error = cls(*[value] * count)
                str(error)
                return error
    return cls("said the library", "in this text", 0)


def test_there_are_exceptions_to_map() -> None:
    assert {docker.errors.NotFound, docker.errors.APIError, requests.exceptions.ReadTimeout} <= set(ALL)
    assert len(ALL) > 60


@pytest.mark.parametrize("cls", ALL, ids=lambda c: f"{c.__module__}.{c.__name__}")
def test_exception_of_a_request_becomes_an_engine_error(cls: type[Exception]) -> None:
    original = bare(cls)
    with pytest.raises(EngineError) as caught, translated("it could not be done", "unix:///nowhere"):
        raise original
    assert caught.value.__cause__ is original
    assert str(caught.value).startswith("it could not be done")


# -- no engine answers --------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without docker contexts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_unreachable_engine_named_by_docker_host_is_the_only_one_tried(nowhere: Path) -> None:
    address = f"unix://{nowhere}/none.sock"
    with pytest.raises(EngineUnreachable) as caught:
        connect({"DOCKER_HOST": address})
    text = str(caught.value)
    assert f"{address} (DOCKER_HOST): no such socket" in text
    assert text.count("unix://") == 1
    assert "\n  do     " in text


def test_refused_connection_is_told_as_such(nowhere: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(EngineUnreachable, match=rf"{address} \(DOCKER_HOST\): Connection refused"):
            connect({"DOCKER_HOST": address})


def test_server_that_is_no_engine_is_told_as_such(nowhere: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer() -> None:
            client = server.accept()[0]
            with client:
                client.recv(4096)
                client.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(EngineUnreachable, match="DOCKER_HOST"):
            connect({"DOCKER_HOST": f"tcp://127.0.0.1:{server.getsockname()[1]}"})
        thread.join()


@pytest.mark.parametrize("address", ["nonsense", "http+nothing://x", "tcp://", "ssh://"])
def test_address_that_is_none_is_told_as_such(nowhere: Path, address: str) -> None:
    with pytest.raises(EngineUnreachable, match="DOCKER_HOST"):
        connect({"DOCKER_HOST": address})


def test_every_address_is_listed_with_its_answer(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The context in force comes first, then the usual sockets, each with what it answered."""
    meta = nowhere / ".docker" / "contexts" / "meta" / "abc"
    meta.mkdir(parents=True)
    (nowhere / ".docker" / "config.json").write_text('{"currentContext": "lab"}')
    (meta / "meta.json").write_text(
        f'{{"Name": "lab", "Endpoints": {{"docker": {{"Host": "unix://{nowhere}/lab.sock"}}}}}}'
    )
    present = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: not str(path).endswith("run/docker.sock") and present(path))
    (tmp_path / "podman").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "podman" / "podman.sock"))
        with pytest.raises(EngineUnreachable) as caught:
            connect({"XDG_RUNTIME_DIR": str(tmp_path)})
    lines = str(caught.value).splitlines()
    assert lines[0] == "no container engine answers"
    assert lines[1] == f"  tried  unix://{nowhere}/lab.sock (docker context 'lab'): no such socket"
    assert lines[2].strip() == "unix:///var/run/docker.sock (usual socket): no such socket"
    assert lines[3].strip() == f"unix://{tmp_path}/docker.sock (usual socket): no such socket"
    assert lines[4].strip() == f"unix://{tmp_path}/podman/podman.sock (usual socket): Connection refused"
    assert lines[5].strip() == "unix:///run/podman/podman.sock (usual socket): no such socket"
    assert lines[6].startswith("  do     start one")
