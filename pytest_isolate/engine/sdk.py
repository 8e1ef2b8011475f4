"""Pulling and building through the docker SDK, which knows registry logins and .dockerignore. Only here is it imported.

It costs a run up to 0.4 s, so whoever needs it imports this module only then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, StreamParseError
from docker.transport import UnixHTTPAdapter

from pytest_isolate.engine.api import BuildRequest, Tell
from pytest_isolate.engine.http import Http
from pytest_isolate.engine.transport import Endpoint, end
from pytest_isolate.engine.wire import (
    PullCount,
    api_version,
    build_failed,
    build_step,
    default_tag,
    image_not_found,
    is_step,
    plain_text,
    unreachable_error,
)
from pytest_isolate.errors import EngineError, EngineUnreachable, ImageNotFound

# How long the engine may be silent in the middle of it.
_TIMEOUT_S = 60
# Streams are read below requests: what breaks them comes from urllib3, or as a piece of JSON without its end.
_TRANSPORT_ERRORS = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    StreamParseError,
    OSError,
)


def pull(engine: Http, image: str, tell: Tell) -> None:
    """Pull an image; ImageNotFound says what the registry answered."""
    count = PullCount()
    try:
        with translated(f"image {image} could not be pulled", engine.address), closing(_open(engine)) as client:
            for line in client.pull(image, **default_tag(image), stream=True, decode=True):
                if "error" in line:
                    raise image_not_found(image, line["error"])
                tell(count.add(line))
    except (EngineUnreachable, ImageNotFound):
        raise
    except EngineError as error:
        raise image_not_found(image, "\n".join(error.found)) from error


def build(engine: Http, request: BuildRequest, tell: Tell) -> None:
    """Build and tag an image; BuildFailed names the step and shows its last lines."""
    context, dockerfile = Path(request.context), Path(request.dockerfile)
    inside = dockerfile.is_relative_to(context)
    step = ""
    output: list[str] = []
    with translated(f"the image {request.tag} could not be built", engine.address), closing(_open(engine)) as client:
        for line in client.build(
            path=request.context,
            dockerfile=str(dockerfile.relative_to(context)) if inside else request.dockerfile,
            tag=request.tag,
            buildargs=dict(request.args),
            target=request.target,
            network_mode=request.network,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            if "error" in line:
                raise build_failed(request, step, [*output, line["error"].strip()])
            text = plain_text(str(line.get("stream", ""))).rstrip()
            if is_step(text):
                step, output = text, []
                tell(build_step(text))
            elif text and not text.startswith((" --->", "Removing intermediate container")):
                output.append(text)


@contextmanager
def translated(what: str, address: str) -> Iterator[None]:
    """Errors of ours for what the SDK, and what it stands on, may raise."""
    try:
        yield
    except APIError as error:
        raise EngineError(what, found=[_explanation(error)]) from error
    except DockerException as error:
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
