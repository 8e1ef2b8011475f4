"""Where images are fetched, and what is said when that fails."""

from __future__ import annotations

import pytest

from pytest_isolate.declarations.run_options import RunOverrides, parse_registries, prefixed
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.engine.docker.pull_errors import Pull, is_passing, pull_failed
from unit.builders import sid, spec


@pytest.mark.parametrize(
    ("given", "image", "expected"),
    [
        ([], "postgres:16", "postgres:16"),
        (["mirror.example:5000"], "postgres:16", "mirror.example:5000/postgres:16"),
        (["mirror.example:5000/"], "postgres:16", "mirror.example:5000/postgres:16"),
        (["mirror.example/hub"], "valkey/valkey:8", "mirror.example/hub/valkey/valkey:8"),
        (["mirror.example/hub"], "docker.io/valkey/valkey:8", "mirror.example/hub/valkey/valkey:8"),
        (["mirror.example/hub"], "index.docker.io/library/redis", "mirror.example/hub/library/redis"),
        (["mirror.example/hub/library"], "postgres:16", "mirror.example/hub/library/postgres:16"),
        (["mirror.example/hub/library"], "valkey/valkey:8", "mirror.example/hub/valkey/valkey:8"),
        (["mirror.example/hub"], "ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        (["mirror.example/hub"], "localhost/a:1", "localhost/a:1"),
        (["ghcr.io=mirror.example/ghcr"], "ghcr.io/a/b:1", "mirror.example/ghcr/a/b:1"),
        (["ghcr.io=mirror.example/ghcr"], "postgres", "postgres"),
        (["docker.io=mirror.example"], "postgres", "mirror.example/postgres"),
        (["*=mirror.example"], "ghcr.io/a/b@sha256:00", "mirror.example/ghcr.io/a/b@sha256:00"),
        (["*=mirror.example"], "postgres", "mirror.example/postgres"),
        (["*=mirror.example"], "localhost/a:1", "localhost/a:1"),
        (["*=all.example", "ghcr.io=one.example"], "ghcr.io/a", "one.example/a"),
        (["one.example", "two.example"], "postgres", "one.example/postgres"),
        (["127.0.0.1:5000"], "postgres", "127.0.0.1:5000/postgres"),
        (["localhost:5000"], "postgres", "localhost:5000/postgres"),
    ],
)
def test_images_are_fetched_from_the_place_of_their_registry(given: list[str], image: str, expected: str) -> None:
    assert prefixed(image, parse_registries(given)) == expected


@pytest.mark.parametrize("text", ["", "mirror", "https://mirror.example", "ghcr=mirror.example", "mirror.example/A b"])
def test_what_is_no_place_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_registries([text])
    assert "mirror.example:5000/hub" in caught.value.valid


def test_what_is_built_or_never_pulled_keeps_its_name() -> None:
    adjustment = RunOverrides(prefixes={"docker.io": "mirror.example"}, pull="always", platform="linux/arm64")
    fetched = adjustment.apply(sid("web"), spec(image="web:1"))
    assert (fetched.image, fetched.pull, fetched.platform) == ("mirror.example/web:1", "always", "linux/arm64")
    local = adjustment.apply(sid("web"), spec(image="web:1", pull="never", platform="linux/amd64"))
    assert (local.image, local.pull, local.platform) == ("web:1", "never", "linux/amd64")


# What Docker 20.10 has answered, or what is in its source and that of registries.
ANSWERS = [
    ("Head http://r:1/v2/x/manifests/1: no basic auth credentials", "gives no access", "docker login r.example"),
    ("unauthorized: authentication required", "gives no access", "docker login r.example"),
    ("pull access denied for x, repository does not exist or may require 'docker login'", "gives no access", "check"),
    ("manifest for r:1/x:1 not found: manifest unknown: manifest unknown", "has no such image", "check name and tag"),
    ("dial tcp 127.0.0.1:1: connect: connection refused", "does not answer", "check its address"),
    ("dial tcp: lookup r.example on 10.0.0.1:53: no such host", "does not answer", "check its address"),
    ("no matching manifest for linux/s390x in the manifest list entries", "does not have it for", "another platform"),
    ("toomanyrequests: You have reached your pull rate limit", "is asked too often", "--isolate-registry="),
    ("http: server gave HTTP response to HTTPS client", "does not speak TLS", "insecure-registries"),
    ("x509: certificate signed by unknown authority", "does not speak TLS", "certs.d"),
    ("Get http://r:1/v2/: EOF", "broke", "run it again"),
    ("something else", "the engine refused", "by hand"),
]


@pytest.mark.parametrize(("answer", "what", "do"), ANSWERS)
def test_each_answer_of_a_registry_is_told_with_what_to_do(answer: str, what: str, do: str) -> None:
    first, *rest = str(pull_failed(Pull("r.example/x:1", "linux/s390x", "where"), answer)).splitlines()
    assert first.startswith("image r.example/x:1 could not be pulled: ")
    assert what in first
    assert rest[0] == "  tried  docker pull --platform linux/s390x r.example/x:1"
    assert rest[1] == f"  found  {answer}"
    assert do in rest[-1]
    assert (rest[2].strip() == "where") == (what == "gives no access")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Get http://r:1/v2/: EOF", True),
        ("read: connection reset by peer", True),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
        ("net/http: TLS handshake timeout", True),
        *((answer, what == "broke") for answer, what, _ in ANSWERS),
    ],
)
def test_only_what_may_pass_is_tried_again(answer: str, expected: bool) -> None:
    assert is_passing(answer) == expected
