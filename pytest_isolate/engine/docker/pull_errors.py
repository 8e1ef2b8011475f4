"""Reasons why an image could not be pulled, and ways out: engines pass on a registry's words only. Pure."""

from __future__ import annotations

from msgspec import Struct

from pytest_isolate.errors import ImageNotFound
from pytest_isolate.model.service import HUB, split_image

TRIES = 3
PAUSE_S = 1.0
"""Behind the first try; twice that behind the second."""

# In the order in which they are looked for. Of Docker Hub and of others: "pull access denied for x, repository does
# not exist or may require 'docker login'".
_NO_ACCESS = (
    "no basic auth credentials",
    "unauthorized",
    "authentication required",
    "access denied",
    "access to the resource is denied",
    "access forbidden",
    "403 forbidden",
    "401 unauthorized",
    "incorrect username or password",
)
_NOT_THERE = ("manifest unknown", "not found", "name unknown", "repository name not known", "does not exist")
_NO_PLATFORM = ("no matching manifest for", "does not provide the specified platform", "image with reference")
_UNANSWERED = ("connection refused", "no such host", "no route to host", "network is unreachable")
_LIMITED = ("toomanyrequests", "too many requests", "rate limit")
_TLS = ("http: server gave http response to https client", "x509:", "tls: ")
_PASSING = (
    "eof",
    "connection reset",
    "broken pipe",
    "timeout",
    "deadline exceeded",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway",
    "received unexpected http status: 5",
)


class Pull(Struct, frozen=True):
    """A request for an image. `login` says where a login was found, or looked for; `trouble` why there was none."""

    image: str
    platform: str | None = None
    login: str = ""
    trouble: str = ""


def is_passing(answer: str) -> bool:
    """Tell that the next try may succeed; not where the answer says that a host is not there at all."""
    text = answer.lower()
    lasting = (*_NO_ACCESS, *_NOT_THERE, *_NO_PLATFORM, *_UNANSWERED, *_LIMITED, *_TLS)
    return not any(word in text for word in lasting) and any(word in text for word in _PASSING)


def is_unreached(answer: str) -> bool:
    """Tell that no registry has answered: nothing is said of whether it has the image."""
    text = answer.lower()
    answered = any(word in text for word in (*_NO_ACCESS, *_NO_PLATFORM, *_LIMITED, "manifest unknown"))
    return not answered and any(word in text for word in (*_UNANSWERED, *_PASSING, "dial tcp", "failed to do request"))


def pull_failed(asked: Pull, answer: str, tries: int = 1) -> ImageNotFound:
    """An image that no registry gave, with what was answered."""
    what, do = _explain(asked, answer)
    platform = f"--platform {asked.platform} " if asked.platform else ""
    is_about_access = asked.login and any(word in answer.lower() for word in _NO_ACCESS)
    return ImageNotFound(
        f"image {asked.image} could not be pulled: {what}",
        tried=[f"docker pull {platform}{asked.image}{f', {tries} times' if tries > 1 else ''}"],
        found=[answer, *([asked.login] if is_about_access else []), *([asked.trouble] if asked.trouble else [])],
        do=do,
    )


def _explain(asked: Pull, answer: str) -> tuple[str, str]:  # noqa: PLR0911  # a list of reasons
    text, registry = answer.lower(), split_image(asked.image)[0]

    def says(words: tuple[str, ...]) -> bool:
        return any(word in text for word in words)

    if says(_NO_PLATFORM) and asked.platform:
        return f"{registry} does not have it for {asked.platform}", "choose another platform, or another image"
    if says(_NO_PLATFORM):
        return f"{registry} does not have it for this engine's platform", "choose one that it has: platform=..."
    if says(_NO_ACCESS):
        login = "docker login" + ("" if registry == HUB else f" {registry}")
        return f"{registry} gives no access, or has no such image", f"check the name, and log in: {login}"
    if says(_LIMITED):
        return (
            f"{registry} is asked too often",
            f"log in to {registry}, or pull from a mirror: --isolate-registry=mirror.example:5000",
        )
    if says(_NOT_THERE) and "no such host" not in text:
        return f"{registry} has no such image", "check name and tag, or build it: build='folder with a Dockerfile'"
    if says(_TLS):
        return (
            f"{registry} does not speak TLS as the engine expects it",
            f'trust its certificate in /etc/docker/certs.d/{registry}, or name it in "insecure-registries" of '
            "/etc/docker/daemon.json",
        )
    if says(_UNANSWERED):
        return f"{registry} does not answer", "check its address, and whether the engine's host reaches it"
    if is_passing(answer):
        return f"the connection to {registry} broke", "run it again; where it breaks again, see the registry's own log"
    return "the engine refused", "see what it says by hand with docker pull"
