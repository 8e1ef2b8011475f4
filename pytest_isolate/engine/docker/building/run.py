"""One build of an image: the Dockerfile is read, a builder chosen and run, and its failure explained."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import cast

from msgspec.structs import replace

from pytest_isolate.engine.api import BuildRequest, Progress, ProgressCallback
from pytest_isolate.engine.docker.building.choice import Builder, BuildingEngine, choose_builder
from pytest_isolate.engine.docker.building.trace import Failure
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.engine.docker.pull_errors import is_unreached
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.docker.wire import build_failed, describe_dockerfile
from pytest_isolate.engine.dockerfile import Dockerfile, read_dockerfile, without_syntax
from pytest_isolate.engine.dockerignore import IGNORE_FILE
from pytest_isolate.errors import BuildFailed, EngineError
from pytest_isolate.text import redact
from pytest_isolate.user_files import MOST_TEXT_BYTES, read_bytes

# The one front end that an engine has as well, in the version of its time.
_STANDARD_SYNTAX = ("docker/dockerfile", "docker.io/docker/dockerfile")
_ASKS_FOR_SYNTAX = "resolve image config for"


class ImageBuild:
    """A build. `load_sdk` imports what builds without BuildKit, which takes long."""

    def __init__(
        self,
        http: Http,
        request: BuildRequest,
        engine: BuildingEngine,
        load_sdk: Callable[[], ModuleType],
        tell: ProgressCallback,
    ) -> None:
        self._http = http
        self._request = request
        self._engine = engine
        self._load_sdk = load_sdk
        self._tell = tell
        self._builder = Builder.CLASSIC
        self._secrets: Mapping[str, bytes] = {}
        self._note = ""

    def run(self) -> None:
        """Build and tag the image; BuildFailed says what failed, and how to try it by hand."""
        content = self._read_dockerfile()
        text = content.decode("utf-8-sig", "replace")
        file = read_dockerfile(text)
        self._builder = self._choose(file)
        if self._builder is Builder.CLASSIC:
            self._load_sdk().build(self._http, self._request, self.failed, self._tell)
            return
        failure = self._run_buildkit(content)
        if failure and self._may_do_without(file.syntax, failure):
            self._note = f"# syntax={file.syntax} was left out, as its registry was not reached: {failure.error}"
            self._tell(Progress(text=f"building without # syntax={file.syntax}: its registry is not reached"))
            self._check_without(file)
            failure = self._run_buildkit(without_syntax(text).encode())
        if failure:
            raise self.failed(failure.step, [*failure.output[-14:], *filter(None, [failure.error])])

    def failed(self, step: str, output: Sequence[str]) -> BuildFailed:
        """The error of a step that failed. Secrets that it has printed are taken out."""
        # Of one with several lines, such as a key, a step prints one at a time.
        lines = (line for secret in self._secrets.values() for line in secret.decode(errors="replace").splitlines())
        secrets = tuple(line.strip() for line in lines)
        shown = [redact(line, secrets) for line in output]
        step = step or f"reading the Dockerfile by {self._engine}"
        return build_failed(self._request, step, [*shown, *filter(None, [self._note])], self._by_hand())

    def _choose(self, file: Dockerfile) -> Builder:
        own = Path(self._request.dockerfile + IGNORE_FILE)
        has_own = self._request.inline is None and own.is_file()
        return choose_builder(self._request, file, own.name if has_own else "", self._engine)

    def _check_without(self, file: Dockerfile) -> None:
        """Refuse what the engine's own front end does not know."""
        try:
            self._choose(replace(file, syntax=""))
        except BuildFailed as refused:
            found = [*refused.found, self._note]
            newer = next(iter(refused.do))
            do = [newer, "or have it reach Docker Hub, where the front end comes from"]
            raise BuildFailed(refused.what, tried=refused.tried, found=found, do=do) from None

    def _run_buildkit(self, dockerfile: bytes) -> Failure | None:
        self._secrets = _read_secrets(self._request, os.environ)
        if self._builder is Builder.BUILDX:
            from pytest_isolate.engine.docker.building import buildx  # rarely needed

            return buildx.build(self._http.endpoint, self._request, self._tell)
        from pytest_isolate.engine.docker.building import buildkit  # brings HTTP/2 along

        return buildkit.build(self._http, self._request, dockerfile, self._secrets, _find_login, self._tell)

    def _may_do_without(self, syntax: str, failure: Failure) -> bool:
        """True where only the front end could not be fetched, and the engine has another one for the same language."""
        is_standard = syntax.partition(":")[0].partition("@")[0] in _STANDARD_SYNTAX
        is_about_it = failure.step.startswith(_ASKS_FOR_SYNTAX) or f"/{syntax.partition(':')[0]}/" in failure.error
        return self._builder is Builder.SESSION and is_standard and is_about_it and is_unreached(failure.error)

    def _by_hand(self) -> str:
        commands = DockerCommands("docker" if self._engine.has_buildkit else "podman")
        if self._builder is Builder.BUILDX:
            return commands.build(self._request, builder="buildx build --load")
        buildkit = self._builder is Builder.SESSION if self._engine.has_buildkit else None
        return commands.build(self._request, buildkit=buildkit)

    def _read_dockerfile(self) -> bytes:
        if self._request.inline is not None:
            return self._request.inline.encode()
        try:
            return read_bytes(self._request.dockerfile, MOST_TEXT_BYTES)
        except OSError as error:
            raise EngineError(
                f"the image of {describe_dockerfile(self._request)} could not be built",
                tried="read the Dockerfile",
                found=error.strerror or str(error),
                do="correct context and dockerfile of build",
            ) from error


def _find_login(registry: str) -> Mapping[str, str]:
    """Return the login for a registry; its import brings the docker SDK along, so it waits for the question."""
    from pytest_isolate.engine.docker.registry_login import find_login

    return cast(Mapping[str, str], find_login(registry).content)


def _read_secrets(request: BuildRequest, env: Mapping[str, str]) -> dict[str, bytes]:
    """Read the secrets of a build; EngineError for one that is not there."""
    found = {}
    for secret in request.secrets:
        try:
            found[secret.name] = read_bytes(secret.file) if secret.file else os.fsencode(env[secret.env])
        except KeyError:
            raise _no_secret(request, f"{secret.env}, the variable of secret {secret.name!r}, is not set") from None
        except OSError as error:
            reason = f"{secret.file}, the file of secret {secret.name!r}: {error.strerror or error}"
            raise _no_secret(request, reason) from error
    return found


def _no_secret(request: BuildRequest, reason: str) -> EngineError:
    return EngineError(
        f"the image of {describe_dockerfile(request)} could not be built",
        tried="read the secrets of the build",
        found=reason,
        do="set it in the environment of pytest, or correct secrets= of build",
    )
