"""Images that need BuildKit: each word of its syntax, built right or refused by name, on whatever engine there is."""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import socket
import subprocess
import tarfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pytest_isolate.engine.api import BuildRequest, Engine, Progress
from pytest_isolate.engine.docker.building.filesync import Entry
from pytest_isolate.errors import BuildFailed, EngineError
from pytest_isolate.model.service import BuildSecret

pytestmark = pytest.mark.engine
SECRET = "hush-5301"
NOTE = "noted"
SUM = hashlib.sha256(NOTE.encode()).hexdigest()


class Bench:
    """Builds from a folder, and looks into what was built; removes it at the end."""

    def __init__(self, engine: Engine, client: Any, folder: Path, image: str) -> None:
        self.engine = engine
        self.folder = folder
        self.told: list[Progress] = []
        self._client = client
        self._image = image
        self._tag = f"isolate-buildkit-{secrets.token_hex(4)}"
        self._made: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        (folder / "note").write_text(NOTE)

    @property
    def version(self) -> int:
        facts = self.engine.facts()
        if facts.name != "Docker":
            pytest.skip(f"{facts.name} builds by itself")
        return int(facts.version.split(".")[0])

    def write(self, *lines: str, name: str = "Dockerfile") -> None:
        text = "\n".join(line.replace("BASE", self._image) for line in lines)
        if "SERVER" in text:
            text = text.replace("SERVER", self._serve())
        if "FROM" not in text:
            # A step of its own, so that nothing comes from the cache of another test, or of an earlier run.
            text = f"FROM {self._image}\nRUN echo {self._tag} >/tag\n{text}"
        (self.folder / name).write_text(f"{text}\n")

    def build(self, name: str = "Dockerfile", **given: Any) -> str:
        """The image's id."""
        tag = f"{self._tag}:{len(self._made)}"
        self._made.append(tag)
        self.told.clear()
        given = {"context": str(self.folder), "dockerfile": str(self.folder / name), **given}
        request = BuildRequest(tag=tag, **given)
        return self.engine.build_image(request, self.told.append).image_id

    def read(self, image: str, path: str = "/out") -> str:
        """A file of an image."""
        made = self._client.create_container(image, ["true"])["Id"]
        try:
            pieces, _ = self._client.get_archive(made, path)
            with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
                found = tar.extractfile(tar.getmembers()[0])
                assert found
                return found.read().decode()
        finally:
            self._client.remove_container(made)

    def _serve(self) -> str:
        """Serve the folder over HTTP, at an address that the engine reaches."""
        engine = urlsplit(self.engine.facts().address)
        host = "127.0.0.1"
        if engine.scheme == "tcp":
            with socket.create_connection((engine.hostname, engine.port)) as sock:
                host = sock.getsockname()[0]
        handler = partial(SimpleHTTPRequestHandler, directory=str(self.folder))
        self._server = ThreadingHTTPServer((host, 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"{host}:{self._server.server_port}"

    def close(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        for tag in self._made:
            with suppress(Exception):  # some were meant to fail
                self._client.remove_image(tag)


@pytest.fixture
def bench(real_engine: Engine, docker_client: Any, tmp_path: Path, base_image: str) -> Iterator[Bench]:
    bench = Bench(real_engine, docker_client, tmp_path, base_image)
    yield bench
    bench.close()


@pytest.mark.parametrize(
    ("lines", "expected", "since"),
    [
        pytest.param(["RUN --mount=type=cache,target=/c echo 1 >/c/a && cat /c/a >/out"], "1\n", 20, id="mount=cache"),
        pytest.param(["RUN --mount=type=bind,target=/s cp /s/note /out"], "noted", 20, id="mount=bind"),
        pytest.param(["RUN --mount=type=tmpfs,target=/t cd /t && echo 1 >a && cp a /out"], "1\n", 20, id="mount=tmpfs"),
        pytest.param(["RUN --network=none echo 1 >/out"], "1\n", 23, id="network"),
        pytest.param(["RUN --security=insecure true"], None, 29, id="security"),
        pytest.param(["RUN <<EOF", "set -e", "echo one >/out", "echo two >>/out", "EOF"], "one\ntwo\n", 23, id="RUN<<"),
        pytest.param(["RUN <<A cat - >/out", "a line", "A"], "a line\n", 23, id="RUN<<command"),
        pytest.param(["COPY <<EOF /out", "PORT=1", "EOF"], "PORT=1\n", 23, id="COPY<<"),
        pytest.param(["ADD <<-EOF /out", "\tPORT=1", "EOF"], "PORT=1\n", 23, id="ADD<<"),
        pytest.param(["COPY --link note /out"], "noted", 23, id="COPY--link"),
        pytest.param(["ADD --link note /out"], "noted", 23, id="ADD--link"),
        pytest.param(["COPY --chmod=741 note /n", "RUN stat -c %a /n >/out"], "741\n", 20, id="COPY--chmod"),
        pytest.param(["ADD --chmod=741 note /n", "RUN stat -c %a /n >/out"], "741\n", 20, id="ADD--chmod"),
        pytest.param(["COPY --chmod=$M note /n"], None, 27, id="COPY--chmod=$"),
        pytest.param(["COPY --chmod=u=rw,go= note /n", "RUN stat -c %a /n >/out"], "600\n", 28, id="COPY--chmod=u"),
        pytest.param(["RUN --mount=type=tmpfs,target=/t$NOTHING ls -d /t >/out"], "/t\n", 23, id="mount=$"),
        pytest.param(["COPY --parents note /p/", "RUN cp /p/note /out"], "noted", 29, id="COPY--parents"),
        pytest.param(["COPY --exclude=*.md . /out"], "", 28, id="COPY--exclude"),
        pytest.param([f"ADD --checksum=sha256:{SUM} http://SERVER/note /out"], "noted", 25, id="ADD--checksum"),
        pytest.param(["ADD --keep-git-dir=true https://example.org/a.git /a"], None, 25, id="ADD--keep-git-dir"),
        pytest.param(["ADD https://example.org/a.git#v1 /a"], None, 25, id="ADD git"),
        pytest.param(["ARG TARGETOS", 'RUN echo "$TARGETOS" >/out'], "linux\n", 20, id="TARGETOS"),
        pytest.param(["FROM --platform=$BUILDPLATFORM BASE", "RUN echo 1 >/out"], "1\n", 20, id="BUILDPLATFORM"),
        pytest.param(["# check=skip=all", "FROM BASE", "RUN echo 1 >/out"], "1\n", 20, id="check"),
        pytest.param(
            ["FROM BASE AS unused", "RUN false", "FROM BASE", "COPY --chmod=644 note /out"], "noted", 20, id="stages"
        ),
    ],
)
def test_each_word_is_built_right_or_refused_by_name(
    bench: Bench, lines: list[str], expected: str | None, since: int
) -> None:
    """Trap 40."""
    bench.write(*lines)
    if bench.version < since:
        with pytest.raises(BuildFailed) as refused:
            bench.build()
        (found,) = list(dict.fromkeys(text.split(" is of ")[0] for text in refused.value.found))[:1]
        assert re.fullmatch(rf"Dockerfile:3: {lines[0].split()[0]} \S+", found)
        assert f"Docker {bench.engine.facts().version}" in str(refused.value)
        assert f"use Docker {since} or newer" in str(refused.value)
    elif expected is None:
        pytest.skip("needs git beside the engine, or a right of it")
    else:
        assert bench.read(bench.build()) == expected


# Written anew after the kinds of Dockerfile that public projects have, upon the image that is here.
KINDS = {
    # A package manager's cache, files that are only looked at, a second layer for the project itself.
    "uv": """
        FROM BASE
        WORKDIR /app
        ENV UV_LINK_MODE=copy
        RUN --mount=type=cache,target=/var/cache/uv \\
            --mount=type=bind,source=note,target=uv.lock \\
            test -f uv.lock && echo installed > /var/cache/uv/x
        COPY . /app
        RUN --mount=type=cache,target=/var/cache/uv cat /var/cache/uv/x note > /out
        ENTRYPOINT []
        """,
    # A front end by name, a builder of its own platform, a stage for development that is not built here.
    "compose": """
        # syntax=docker/dockerfile:1.4
        FROM --platform=$BUILDPLATFORM BASE AS builder
        WORKDIR /code
        COPY note /code
        RUN --mount=type=cache,target=/var/cache/pip echo installed > /out && cat note >> /out
        FROM builder AS dev-envs
        COPY --from=example.invalid/docker / /
        RUN false
        FROM builder
        CMD ["true"]
        """,
    # Arguments for all stages, wheels that are handed on, a user of its own.
    "django": """
        ARG BUILD_ENVIRONMENT=production
        FROM BASE AS python-build-stage
        ARG BUILD_ENVIRONMENT
        RUN --mount=type=bind,source=.,target=/src mkdir /wheels && cp /src/note /wheels/${BUILD_ENVIRONMENT}.whl
        FROM BASE AS python-run-stage
        ARG BUILD_ENVIRONMENT
        RUN groupadd --system django && useradd --system --gid django --home /home/django django
        RUN --mount=type=bind,from=python-build-stage,source=/wheels,target=/wheels \\
            (echo installed; cat /wheels/${BUILD_ENVIRONMENT}.whl) > /out
        COPY --from=python-build-stage --chown=django:django /wheels /wheels
        COPY --chown=django:django --chmod=0755 note /start
        RUN sed -i 's/\\r$//g' /start
        USER django
        """,
    # A program out of another image, and a package manager that is told of the lock file before the project is there.
    "fastapi": """
        FROM BASE
        WORKDIR /app/
        COPY --from=BASE /usr/bin/env /bin/uv
        ENV PATH="/app/.venv/bin:$PATH" UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
        RUN --mount=type=cache,target=/var/cache/uv \\
            --mount=type=bind,source=note,target=uv.lock \\
            --mount=type=bind,source=Dockerfile,target=pyproject.toml \\
            uv test -s pyproject.toml && uv echo installed > /out
        COPY ./note /app/scripts/
        RUN --mount=type=cache,target=/var/cache/uv cat scripts/note >> /out
        CMD ["fastapi", "run", "--workers", "4", "app/main.py"]
        """,
}


@pytest.mark.parametrize("kind", KINDS)
def test_dockerfiles_as_projects_have_them_are_built_and_the_second_time_from_the_cache(
    bench: Bench, kind: str
) -> None:
    bench.write(textwrap.dedent(KINDS[kind]).strip())
    assert bench.version
    image = bench.build()
    assert bench.read(image) == "installed\nnoted"
    began = time.monotonic()
    assert bench.build() == image
    print(f"{kind}: a cached build took {time.monotonic() - began:.2f} s")


@pytest.mark.parametrize("flag", ["", "--chmod=644 "])
def test_a_dockerfile_beside_the_folder_is_built(bench: Bench, base_image: str, flag: str) -> None:
    folder = bench.folder / "context"
    folder.mkdir()
    (folder / "only").write_text("here")
    bench.write(f"FROM {base_image}", f"COPY {flag}only /out")
    image = bench.build("context/../Dockerfile", context=str(folder))
    assert bench.read(image) == "here"


@pytest.mark.parametrize(
    ("lines", "target", "found"),
    [
        (["FROM BASE", "RUM true"], None, "line 2"),
        (["FROM BASE", "RUN --mount=type=cache,target=/c true", "RUM true"], None, "line 3"),
        (["FROM BASE"], "nothing", "nothing"),
    ],
)
def test_what_is_wrong_as_a_whole_names_the_file_and_the_engine(
    bench: Bench, lines: list[str], target: str | None, found: str
) -> None:
    bench.write(*lines)
    with pytest.raises(BuildFailed, match=found) as failed:
        bench.build(target=target)
    assert str(bench.folder / "Dockerfile") in failed.value.what
    if bench.version:
        assert list(failed.value.tried) == [f"reading the Dockerfile by Docker {bench.engine.facts().version}"]


def test_a_front_end_whose_registry_is_not_reached_is_done_without(bench: Bench) -> None:
    bench.write("# syntax=docker/dockerfile:1", "FROM BASE", "COPY --chmod=600 note /out")
    assert bench.version
    assert bench.read(bench.build()) == "noted"


def test_a_front_end_of_another_language_is_not_done_without(bench: Bench) -> None:
    bench.write("# syntax=localhost:1/other/frontend", "FROM BASE")
    assert bench.version
    with pytest.raises(BuildFailed, match="localhost:1"):
        bench.build()


def test_a_secret_is_read_and_stands_nowhere_else(
    bench: Bench, docker_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_TOKEN", SECRET)
    (bench.folder.parent / "key").write_text("from a file")
    given = (BuildSecret(name="token", env="BUILD_TOKEN"), BuildSecret(name="key", file=f"{bench.folder.parent}/key"))
    bench.write("RUN --mount=type=secret,id=token --mount=type=secret,id=key \\", " cat /run/secrets/* | md5sum >/out")
    assert bench.version
    image = bench.build(secrets=given)
    assert bench.read(image) == f"{hashlib.md5(f'from a file{SECRET}'.encode()).hexdigest()}  -\n"
    assert SECRET not in str((docker_client.inspect_image(image), docker_client.history(image), bench.told))


def test_a_secret_that_a_failed_step_prints_is_not_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_TOKEN", f"first line\n{SECRET}\n")
    bench.write("RUN --mount=type=secret,id=token cat /run/secrets/token && exit 3")
    assert bench.version
    with pytest.raises(BuildFailed) as failed:
        bench.build(secrets=(BuildSecret(name="token", env="BUILD_TOKEN"),))
    assert "***" in failed.value.found
    assert SECRET not in str(failed.value)
    assert "first line" not in str(failed.value)
    assert "--secret id=token,env=BUILD_TOKEN" in str(failed.value)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (BuildSecret(name="token", env="NOT_SET_5301"), "NOT_SET_5301, the variable of secret 'token', is not set"),
        (BuildSecret(name="key", file="/nothing/here"), "/nothing/here, the file of secret 'key': No such file"),
    ],
)
def test_a_secret_that_is_not_there_is_an_error(bench: Bench, secret: BuildSecret, reason: str) -> None:
    bench.write("RUN true")
    assert bench.version
    with pytest.raises(EngineError, match=reason):
        bench.build(secrets=(secret,))


def test_an_ignore_file_of_the_dockerfile_is_honoured(bench: Bench) -> None:
    for name in ("a.txt", "b.txt", "c/d.txt"):
        (bench.folder / name).parent.mkdir(exist_ok=True)
        (bench.folder / name).touch()
    (bench.folder / ".dockerignore").write_text("a.txt\n")
    bench.write("COPY . /all", "RUN cd /all && find . -name '*.txt' | sort >/out", name="dev.Dockerfile")
    (bench.folder / "dev.Dockerfile.dockerignore").write_text("b.txt\nc\n!c/d.txt\n")
    assert bench.version
    assert bench.read(bench.build("dev.Dockerfile")) == "./a.txt\n./c/d.txt\n"


def test_links_modes_and_empty_folders_arrive_as_they_are(bench: Bench) -> None:
    (bench.folder / "empty").mkdir()
    (bench.folder / "run").write_text("x" * 100_000)
    (bench.folder / "run").chmod(0o750)
    (bench.folder / "link").symlink_to("note")
    bench.write(
        "RUN --mount=type=bind,target=/s cd /s && stat -c '%n %a %F %u' empty run link >/out && cp run /run.txt"
    )
    assert bench.version
    image = bench.build()
    assert bench.read(image).splitlines() == [
        "empty 755 directory 0",
        "run 750 regular file 0",
        "link 777 symbolic link 0",
    ]
    assert bench.read(image, "/run.txt") == "x" * 100_000


def test_only_what_has_changed_is_sent_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    read = Entry.read
    monkeypatch.setattr(Entry, "read", lambda self: (sent.append(self.path), read(self))[1])
    for name in ("one", "two"):
        (bench.folder / name).write_text(name)
    bench.write("COPY --chmod=644 one two /")
    assert bench.version
    first = bench.build()
    assert {"one", "two"} <= set(sent)
    assert "note" not in sent
    sent.clear()
    assert bench.build() == first
    assert set(sent) <= {"Dockerfile"}
    sent.clear()
    (bench.folder / "two").write_text("2")
    assert bench.read(bench.build(), "/two") == "2"
    assert set(sent) - {"Dockerfile"} == {"two"}


def test_steps_are_told_and_those_of_the_cache_as_such(bench: Bench) -> None:
    bench.write("COPY --chmod=644 note /out", "RUN echo 1")
    assert bench.version
    bench.build()
    steps = [(p.text, p.done, p.total) for p in bench.told if p.unit == "steps"]
    assert steps[2:] == [("COPY --chmod=644 note /out", 3, 4), ("RUN echo 1", 4, 4)]
    began = time.monotonic()
    bench.build()
    print(f"a cached build took {time.monotonic() - began:.2f} s")
    assert [p.text for p in bench.told if p.text.endswith("(cached)")][1:] == [
        "COPY --chmod=644 note /out (cached)",
        "RUN echo 1 (cached)",
    ]


def test_keys_of_a_build_reach_buildkit(bench: Bench, docker_client: Any) -> None:
    bench.write(
        "FROM BASE AS wanted",
        "ARG WORD",
        "RUN --mount=type=tmpfs,target=/t echo $WORD $(getent hosts db.test) >/out",
        "FROM BASE",
    )
    assert bench.version
    image = bench.build(
        args={"WORD": "hello"},
        target="wanted",
        labels={"mine": "1"},
        extra_hosts=(("db.test", "10.1.2.3"),),
        network="host",
        cache_to=("type=inline",),
        cache_from=("localhost:1/nothing:here",),
    )
    assert bench.read(image).split() == ["hello", "10.1.2.3", "db.test"]
    assert docker_client.inspect_image(image)["Config"]["Labels"]["mine"] == "1"


def test_a_dockerfile_of_a_declaration_is_built(bench: Bench, base_image: str) -> None:
    for flag, expected in (("", "noted"), ("--chmod=644 ", "noted")):  # by either builder of an old engine
        inline = f"FROM {base_image}\nCOPY {flag}note /out\n"
        assert bench.read(bench.build(inline=inline)) == expected


def test_the_command_by_hand_is_the_whole_one(bench: Bench) -> None:
    bench.write("RUN --mount=type=tmpfs,target=/t false", name="dev.Dockerfile")
    assert bench.version
    with pytest.raises(BuildFailed) as failed:
        bench.build("dev.Dockerfile", args={"A": "b c"}, network="host")
    (line,) = [line for line in str(failed.value).splitlines() if "by hand" in line]
    command = rf"-t \S+ -f {bench.folder}/dev.Dockerfile --build-arg 'A=b c' --network host {bench.folder}"
    assert re.search(rf"try it by hand: DOCKER_BUILDKIT=1 docker build {command}$", line)
    assert re.fullmatch(r"\[(stage-0 )?3/3\] RUN --mount=type=tmpfs,target=/t false", failed.value.tried[0])


def test_what_only_the_docker_command_can_is_built_by_it_or_its_plugin_is_missed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.version
    bench.write("RUN --mount=type=ssh,required=true test -S $SSH_AUTH_SOCK && echo 1 >/out")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(bench.folder / "agent"))
        agent.listen()
        given = {"ssh": (f"default={bench.folder}/agent",)}
        has_plugin = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
        if has_plugin:
            assert bench.read(bench.build(**given)) == "1\n"
        monkeypatch.setenv("PATH", str(bench.folder))
        with pytest.raises(EngineError) as missed:
            bench.build(**given)
    assert "there is no command docker here" in missed.value.found
    assert "install the plugin: apt-get install docker-buildx" in str(missed.value)


def test_a_context_beside_the_folder_is_refused_by_an_old_engine(bench: Bench) -> None:
    bench.write("RUN true")
    if bench.version >= 23:
        pytest.skip("a newer one has them")
    with pytest.raises(BuildFailed, match="contexts of build: BuildKit takes it from version 23 on"):
        bench.build(contexts={"lib": "/lib"})
