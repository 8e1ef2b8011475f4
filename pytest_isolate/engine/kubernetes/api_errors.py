"""Refusals of an API server, as errors that keep its own words whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound

_VERBS = {"GET": "read", "POST": "create", "PUT": "change", "PATCH": "change", "DELETE": "remove"}
# Of RBAC alone: refusals of admission have the same status and reason.
_NO_RIGHT = re.compile(r"cannot \S+ resource ")
_ROLE = "ask for the missing right: `pytest-isolate kubernetes role` prints the Role to apply"
_LOG_IN = "log in to the cluster again; `kubectl auth whoami` says as whom it knows you"
_LONGEST_TEXT = 2000


class ApiError(EngineError):
    """The API server refused a request: its Status, whole."""

    def __init__(
        self, what: str, *, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        do = _LOG_IN if status == 401 else _ROLE if status == 403 and _NO_RIGHT.search(message) else ()
        super().__init__(what, found=f"{status} {reason}: {message}" if reason else f"{status} {message}", do=do)

    @property
    def is_being_deleted(self) -> bool:
        """True where an object of this name is on its way out."""
        return self.status == 409 and "being deleted" in self.message

    @property
    def is_conflict(self) -> bool:
        """True where two changed one object at once, such as the count of a quota: the next try may succeed."""
        return self.status == 409 and self.reason == "Conflict"


class ObjectMissing(ApiError, ObjectNotFound):
    """The API server has no such object (404)."""


class NothingSent(EngineUnreachable):
    """The API server could not be reached: it knows nothing of the request."""


class ConnectionBroken(EngineUnreachable):
    """A connection broke after a request was sent: the server may have carried it out."""

    @classmethod
    def of(cls, what: str, server: str, error: BaseException) -> ConnectionBroken:
        """The error of a request whose answer did not come."""
        return cls(f"the API server could not be asked to {what}", tried=server, found=reason_of(error))


def describe_request(method: str, path: str) -> str:
    """A request in words, for the first line of an error: "create pods in namespace 'team'"."""
    words = path.strip("/").split("/")
    words = words[2:] if words[0] == "api" else words[3:]
    place = ""
    if len(words) > 2 and words[0] == "namespaces":
        place, words = f" in namespace {words[1]!r}", words[2:]
    verb = _VERBS.get(method, method)
    return f"{verb} {'/'.join(words) or path}{place}"


def read_error(what: str, status: int, content: bytes) -> ApiError:
    """The error in an answer. Proxies and load balancers answer with a text, or nothing, in place of a Status."""
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != "Status":
        text = content[:_LONGEST_TEXT].decode(errors="replace").strip()
        found = {"message": text or "the answer has no text"}
    return error_of_status(what, found, status)


def error_of_status(what: str, found: Mapping[str, Any], status: int = 500) -> ApiError:
    """The error of a Status object."""
    code = int(found.get("code") or status)
    kind = ObjectMissing if code == 404 else ApiError
    return kind(
        f"the API server refused to {what}",
        status=code,
        reason=str(found.get("reason") or ""),
        message=str(found.get("message") or ""),
        details=found.get("details"),
    )


def unreachable(
    what: str, server: str, error: BaseException | str, kind: type[EngineUnreachable] = EngineUnreachable
) -> EngineUnreachable:
    """The error of an API server that does not answer, or whose connection broke."""
    reason = error if isinstance(error, str) else reason_of(error)
    return kind(
        f"the API server could not be asked to {what}",
        tried=server,
        found=reason,
        do="see whether `kubectl version` reaches it; --isolate-kube-context names another cluster",
    )


def reason_of(error: BaseException) -> str:
    """Reason of a broken connection in a few words."""
    if getattr(error, "verify_message", ""):  # of the ssl module, which this one does without
        return f"its certificate is not trusted: {getattr(error, 'verify_message', '')}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
