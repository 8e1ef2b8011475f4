"""The builder that an image is built by, and what an engine cannot build, told by file, line, word and version."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_isolate.engine.api import BuildRequest
from pytest_isolate.engine.docker.building.choice import Builder, BuildingEngine, choose_builder
from pytest_isolate.engine.dockerfile import read_dockerfile
from pytest_isolate.errors import BuildFailed
from pytest_isolate.model.service import BuildSecret

OLD = BuildingEngine(name="Docker", version="20.10.24+dfsg1")
NEW = BuildingEngine(name="Docker", version="26.1.5+dfsg1", default_builder="2")
SWITCHED_OFF = BuildingEngine(name="Docker", version="26.1.5", default_builder="1")
PODMAN = BuildingEngine(name="Podman", version="4.3.1", has_buildkit=False)
PLAIN = "FROM debian\nRUN true\n"
MOUNT = "FROM debian\nRUN --mount=type=cache,target=/c true\n"
HEREDOC = "FROM debian\nRUN <<EOF\ntrue\nEOF\n"


def choose(text: str, engine: BuildingEngine, ignore_file: str = "", **given: Any) -> Builder:
    request = BuildRequest(tag="t", context="/c", dockerfile="/c/dev.Dockerfile", **given)
    return choose_builder(request, read_dockerfile(text), ignore_file, engine)


@pytest.mark.parametrize(
    ("text", "engine", "builder"),
    [
        (PLAIN, OLD, Builder.CLASSIC),
        (PLAIN, SWITCHED_OFF, Builder.CLASSIC),
        (PLAIN, NEW, Builder.SESSION),
        (PLAIN, PODMAN, Builder.CLASSIC),
        ("FROM sha256:0123abcd\nADD 0.tar /\n", NEW, Builder.CLASSIC),
        (MOUNT, OLD, Builder.SESSION),
        (MOUNT, SWITCHED_OFF, Builder.SESSION),
        (MOUNT, PODMAN, Builder.CLASSIC),
        (HEREDOC, NEW, Builder.SESSION),
        (HEREDOC, SWITCHED_OFF, Builder.SESSION),
        (f"# syntax=docker/dockerfile:1\n{HEREDOC}", OLD, Builder.SESSION),
    ],
)
def test_buildkit_builds_where_it_is_the_default_or_asked_for(
    text: str, engine: BuildingEngine, builder: Builder
) -> None:
    assert choose(text, engine) is builder


@pytest.mark.parametrize(
    ("given", "builder"),
    [
        ({"secrets": (BuildSecret(name="token", env="TOKEN"),)}, Builder.SESSION),
        ({"cache_from": ("app:main", "type=registry,ref=app:1")}, Builder.SESSION),
        ({"cache_from": ("type=gha",)}, Builder.BUILDX),
        ({"cache_from": ("type=registry,mode=max,ref=app:1",)}, Builder.BUILDX),
        ({"cache_to": ("type=inline",)}, Builder.SESSION),
        ({"cache_to": ("type=local,dest=/c",)}, Builder.BUILDX),
        ({"ssh": ("default",)}, Builder.BUILDX),
        ({"builder": "mine"}, Builder.BUILDX),
        (
            {"labels": {"a": "b"}, "extra_hosts": (("a", "1.1.1.1"),), "shm_bytes": 1, "network": "host"},
            Builder.CLASSIC,
        ),
        ({"network": "shop_default"}, Builder.CLASSIC),
    ],
)
def test_keys_of_a_declaration_ask_for_a_builder(given: dict[str, Any], builder: Builder) -> None:
    assert choose(PLAIN, OLD, **given) is builder


def test_a_network_of_the_engines_own_is_left_to_the_classic_builder_where_that_is_enough() -> None:
    assert choose(PLAIN, NEW, network="shop_default") is Builder.CLASSIC
    assert choose(PLAIN, NEW, network="host") is Builder.SESSION


@pytest.mark.parametrize(
    ("given", "asking"), [({}, "dev.Dockerfile:2: RUN --mount"), ({"cache_from": ("a",)}, "RUN --mount")]
)
def test_a_network_that_buildkit_does_not_have_is_refused_with_what_asks_for_it(
    given: dict[str, Any], asking: str
) -> None:
    with pytest.raises(BuildFailed, match="default, host and none, and not 'shop_default'") as failed:
        choose(MOUNT, OLD, network="shop_default", **given)
    assert asking in str(failed.value)
    with pytest.raises(BuildFailed, match="a key of build"):
        choose(PLAIN, OLD, network="shop_default", cache_from=("a",))


def test_an_ignore_file_of_the_dockerfile_asks_for_buildkit() -> None:
    assert choose(PLAIN, OLD, "dev.Dockerfile.dockerignore") is Builder.SESSION


@pytest.mark.parametrize(
    ("line", "version", "word", "since", "newer"),
    [
        ("RUN <<EOF\ntrue\nEOF", "20.10.24", "RUN <<EOF", "1.4", "23"),
        ("COPY --link a b", "20.10.24", "COPY --link", "1.4", "23"),
        ("RUN --network=none true", "20.10.24", "RUN --network", "1.3", "23"),
        ("ADD https://example.org/a.git /a", "24.0.9", "ADD https://example.org/a.git", "1.6", "25"),
        ("ADD --checksum=sha256:0 https://example.org/a /a", "23.0.1", "ADD --checksum", "1.6", "25"),
        ("HEALTHCHECK --start-interval=1s CMD true", "24.0.9", "HEALTHCHECK --start-interval", "1.6", "25"),
        ("COPY --chmod=$MODE a /a", "26.1.5", "COPY --chmod=$MODE", "1.10", "27"),
        ("COPY --chmod=u+x a /a", "27.5.1", "COPY --chmod=u+x", "1.14", "28"),
        ("COPY --exclude=a . /a", "26.1.5", "COPY --exclude", "1.19", "28"),
        ("COPY --parents a /a", "28.0.1", "COPY --parents", "1.20", "29"),
    ],
)
def test_words_that_an_engine_is_too_old_for_are_refused_by_name(
    line: str, version: str, word: str, since: str, newer: str
) -> None:
    with pytest.raises(BuildFailed) as failed:
        choose(f"FROM debian\n{line}\n", BuildingEngine(name="Docker", version=version, default_builder="2"))
    assert failed.value.found == (f"dev.Dockerfile:2: {word} is of version {since}",)
    assert f"Docker {version}" in str(failed.value)
    assert f"use Docker {newer} or newer" in str(failed.value)


@pytest.mark.parametrize("version", ["29.0.0", "dev", "library-import"])
def test_newer_and_unknown_engines_say_themselves_what_they_cannot(version: str) -> None:
    engine = BuildingEngine(name="Docker", version=version, default_builder="2")
    assert choose("FROM debian\nCOPY --parents a /a\n", engine) is Builder.SESSION


def test_a_front_end_of_its_own_or_another_builder_is_not_judged_by_the_engine() -> None:
    assert choose(HEREDOC, OLD, builder="mine") is Builder.BUILDX
    assert choose(f"# syntax=docker/dockerfile:1\n{HEREDOC}", OLD) is Builder.SESSION


def test_shared_memory_that_an_old_buildkit_would_leave_out_is_refused() -> None:
    with pytest.raises(BuildFailed, match="shm_size of build: BuildKit takes it from version 23 on"):
        choose(MOUNT, OLD, shm_bytes=1 << 20)
    assert choose(MOUNT, NEW, shm_bytes=1 << 20) is Builder.SESSION


def test_contexts_beside_the_folder_are_for_newer_engines_and_the_docker_command() -> None:
    with pytest.raises(BuildFailed, match="contexts of build: BuildKit takes it from version 23 on"):
        choose(PLAIN, OLD, contexts={"lib": "/lib"})
    assert choose(PLAIN, NEW, contexts={"lib": "/lib"}) is Builder.BUILDX


def test_podman_refuses_what_its_api_does_not_take() -> None:
    with pytest.raises(BuildFailed, match="cannot honour secrets of build"):
        choose(PLAIN, PODMAN, secrets=(BuildSecret(name="t", env="T"),))


def test_an_inline_dockerfile_is_named_as_such() -> None:
    with pytest.raises(BuildFailed, match="the image of dockerfile_inline in /c could not be built") as failed:
        choose(HEREDOC, OLD, inline=HEREDOC)
    assert failed.value.found == ("dockerfile_inline:2: RUN <<EOF is of version 1.4",)


@pytest.mark.parametrize(
    ("line", "version", "found"),
    [
        ("RUN <<EOF\ntrue\nEOF", "4.3.1", "dev.Dockerfile:2: RUN <<EOF is of Podman 4.8"),
        ("RUN <<EOF\ntrue\nEOF", "4.9.3", ""),
        (
            "ADD https://example.org/a.git /a",
            "4.9.3",
            "dev.Dockerfile:2: ADD https://example.org/a.git is of Podman 5.0",
        ),
        ("ADD https://example.org/a.git /a", "5.4.0", ""),
        ("COPY --link a /a", "4.3.1", ""),  # it says itself that it does not know it
    ],
)
def test_podman_refuses_by_name_what_it_would_take_for_something_else(line: str, version: str, found: str) -> None:
    engine = BuildingEngine(name="Podman", version=version, has_buildkit=False)
    if not found:
        assert choose(f"FROM debian\n{line}\n", engine) is Builder.CLASSIC
        return
    with pytest.raises(BuildFailed) as refused:
        choose(f"FROM debian\n{line}\n", engine)
    assert refused.value.found == (found,)
    assert f"tried  Podman {version}" in str(refused.value)
