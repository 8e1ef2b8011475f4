"""Pulling, and building without BuildKit, through the docker SDK, which knows registry logins and .dockerignore.

Its import takes up to 0.4 s, so it waits until an image is pulled or built.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import docker
import requests
import urllib3
from docker.credentials.errors import StoreError
from docker.errors import APIError, DockerException, StreamParseError
from docker.transport import UnixHTTPAdapter
from docker.utils.build import create_archive, exclude_paths, tar

from pytest_isolate.engine.api import BuildRequest, Progress, ProgressCallback
from pytest_isolate.engine.docker.dialects import api_version
from pytest_isolate.engine.docker.pull_errors import PAUSE_S, TRIES, Pull, is_passing, pull_failed
from pytest_isolate.engine.docker.refusals import unreachable_error
from pytest_isolate.engine.docker.registry_login import Login, find_login, usable_logins
from pytest_isolate.engine.docker.transport.carrier import end
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.transport.connections import Endpoint
from pytest_isolate.engine.docker.wire import PullCount, build_step, default_tag, is_step
from pytest_isolate.engine.dockerignore import IGNORE_FILE, find_ignore_file, name_in_context
from pytest_isolate.errors import BuildFailed, EngineError, EngineUnreachable
from pytest_isolate.model.service import split_image
from pytest_isolate.text import plain_text
from pytest_isolate.user_files import read_text

# How long the engine may be silent in the middle of it.
_TIMEOUT_S = 60
_WRONG_DOCKERFILE = (400, 500)  # unknown words, and stages that are not there: engines differ in the kind
# Streams are read below requests: what breaks them comes from urllib3, or as a piece of JSON without its end.
_TRANSPORT_ERRORS = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, StreamParseError, OSError)

Fail = Callable[[str, Sequence[str]], BuildFailed]
"""Makes the error of a step that failed, with the last lines that it printed."""


def pull(engine: Http, image: str, tell: ProgressCallback, platform: str | None) -> None:
    """Pull an image; ImageNotFound says what the registry answered.

    What breaks on the way is tried again: the engine does that for layers only, not for what comes before them.
    """
    with translated(f"image {image} could not be pulled", engine.address):
        login = find_login(split_image(image)[0])
    asked = Pull(image, platform, login.where, login.trouble)
    for attempt in range(1, TRIES + 1):
        answer = _pull_once(engine, asked, login, tell)
        if not answer:
            return
        if attempt == TRIES or not is_passing(answer):
            raise pull_failed(asked, answer, attempt)
        tell(Progress(text=f"try {attempt + 1} of {TRIES} of pulling"))
        time.sleep(PAUSE_S * attempt)


def _pull_once(engine: Http, asked: Pull, login: Login, tell: ProgressCallback) -> str:
    """Return why it failed, in the engine's or the registry's words; empty where it did not."""
    count = PullCount()
    what = f"image {asked.image} could not be pulled"
    try:
        with translated(what, engine.address), closing(_open(engine)) as client:
            lines = client.pull(
                asked.image,
                **default_tag(asked.image),
                stream=True,
                decode=True,
                # The SDK would look for a login itself where it is given none, and fail where a helper is missing.
                auth_config=login.content,
                platform=asked.platform,
            )
            for line in lines:
                if "error" in line:
                    return str(line["error"])
                tell(count.add(line))
    except EngineUnreachable:
        raise
    except EngineError as error:
        return "\n".join(error.found)
    return ""


_PUSH_SILENT_S = 600  # it says nothing while it compresses a layer, and pushes of others are before it


def push(engine: Http, image: str, tell: ProgressCallback) -> None:
    """Push an image to the registry in its name; EngineError says what that answered."""
    what, count = f"image {image} could not be pushed", PullCount()
    with translated(what, engine.address), closing(_open(engine)) as client:
        client.timeout = _PUSH_SILENT_S
        login = find_login(split_image(image)[0])
        for line in client.push(image, stream=True, decode=True, auth_config=login.content):
            if "error" in line:
                raise EngineError(what, tried=login.where, found=str(line["error"]), do=f"docker push {image}")
            tell(count.add(line))


def build(engine: Http, request: BuildRequest, fail: Fail, tell: ProgressCallback) -> None:
    """Build and tag an image by the builder that is not BuildKit; BuildFailed names the step and its last lines."""
    what = f"the image {request.tag} could not be built"
    step = ""
    output: list[str] = []
    rest = ""
    # Without a name: the SDK's own, as large as what is sent, would stay where this process is killed.
    with TemporaryFile() as archive, translated(what, engine.address), closing(_open(engine)) as client:
        dockerfile = _write_context(request, what, archive)
        # The SDK asks every helper that is named, and fails where one of them is not there.
        client._auth_configs = usable_logins()
        lines = client.build(
            fileobj=archive,
            custom_context=True,
            dockerfile=dockerfile,
            tag=request.tag,
            buildargs=dict(request.args),
            target=request.target,
            network_mode=request.network,
            labels=dict(request.labels),
            extra_hosts=[f"{name}:{address}" for name, address in request.extra_hosts] or None,
            shmsize=request.shm_bytes,
            rm=True,
            forcerm=True,
            pull=request.pull,
            platform=request.platform,
            decode=True,
        )
        for line in _begun(lines, fail):
            if "error" in line:
                raise fail(step, [*output, *filter(None, [rest.strip()]), line["error"].strip()])
            # Podman tells what is printed in pieces of lines.
            *whole, rest = (rest + plain_text(str(line.get("stream", "")))).split("\n")
            for text in map(str.rstrip, whole):
                if is_step(text):
                    step, output = text, []
                    tell(build_step(text))
                elif text and not text.startswith((" --->", "Removing intermediate container")):
                    output.append(text)


def _begun(lines: Iterator[dict[str, Any]], fail: Fail) -> Iterator[dict[str, Any]]:
    """The lines of an answer. What is wrong with the Dockerfile as a whole is refused before the first of them."""
    try:
        yield from lines
    except APIError as error:
        if error.status_code not in _WRONG_DOCKERFILE:
            raise
        raise fail("", [_explanation(error)]) from error


def _write_context(request: BuildRequest, what: str, archive: IO[bytes]) -> str:
    """Write what is not ignored of a folder to an archive; return the name that the Dockerfile has in it."""
    context, dockerfile = Path(request.context), Path(request.dockerfile)
    name, text = "", request.inline
    try:
        ignore = context / IGNORE_FILE if request.inline is not None else find_ignore_file(context, dockerfile)
        ignored = read_text(ignore) if ignore.exists() else ""
        inside = name_in_context(context, dockerfile) if request.inline is None else None
        if inside is not None:
            name = inside
        else:
            name = f".dockerfile.{secrets.token_hex(20)}"
            text = read_text(dockerfile) if text is None else text
        lines = [line.strip() for line in ignored.splitlines() if line.strip() and not line.strip().startswith("#")]
        if ignore == context / IGNORE_FILE:
            tar(request.context, exclude=lines, dockerfile=(name, text), fileobj=archive)
        else:  # what the engine reads in its place has to say the same
            extra = [(IGNORE_FILE, ignored), *([(name, text)] if text is not None else [])]
            files = sorted(exclude_paths(request.context, lines, dockerfile=name))
            create_archive(request.context, files, archive, extra_files=extra)
    except (OSError, ValueError) as error:
        raise EngineError(what, found=[str(error)]) from error
    return name


@contextmanager
def translated(what: str, address: str) -> Iterator[None]:
    """Errors of ours for what the SDK, and what it stands on, may raise."""
    try:
        yield
    except APIError as error:
        raise EngineError(what, found=[_explanation(error)]) from error
    except (DockerException, StoreError) as error:
        raise EngineError(what, found=[str(error)]) from error
    except _TRANSPORT_ERRORS as error:
        raise unreachable_error(what, address, _innermost(error)) from error


def _open(engine: Http) -> docker.APIClient:
    endpoint = engine.endpoint
    if endpoint.address.startswith("unix://"):
        return docker.APIClient(base_url=endpoint.address, timeout=_TIMEOUT_S)
    # The SDK's own ways: over ssh it needs one more library; over TLS it trusts what REQUESTS_CA_BUNDLE names instead.
    client = docker.APIClient(base_url="unix:///none", version=api_version(engine.version()), timeout=_TIMEOUT_S)
    client.mount("http+docker://", _Adapter(endpoint))
    return client


class _Adapter(UnixHTTPAdapter):  # type: ignore[misc]  # the SDK has no types
    """Requests over connections of ours."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("http+unix:///none", _TIMEOUT_S)
        self._pool = _Pool(endpoint)

    def get_connection(self, url: object, proxies: object = None) -> _Pool:  # noqa: ARG002  # there is one only
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()
        while self._pool.carriers:
            end(self._pool.carriers.pop())


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._endpoint = endpoint
        self.carriers: list[HTTPConnection] = []

    def _new_conn(self) -> Any:
        carrier = self._endpoint.connection(_TIMEOUT_S)
        self.carriers.append(carrier)
        return _Connection(carrier)


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, carrier: HTTPConnection) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._carrier = carrier

    def connect(self) -> None:
        self._carrier.connect()
        self.sock = self._carrier.sock


def _innermost(error: BaseException) -> str:
    """The cause that says most: libraries wrap "permission denied" in several layers."""
    for current in _chain(error):
        if isinstance(current, OSError) and current.strerror:
            return current.strerror
    return str(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield from (arg for arg in error.args if isinstance(arg, BaseException))
        yield error
        error = error.__cause__ or error.__context__


def _explanation(error: APIError) -> str:
    text = error.explanation or str(error)
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
