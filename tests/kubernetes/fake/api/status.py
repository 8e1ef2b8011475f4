"""Errors as the API server words them: each is a Status object with a code, a reason and a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ApiError(Exception):
    """An answer that is a failure."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.headers = code, dict(headers or {})
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": dict(details)} if details else {}),
            "code": code,
        }


def not_found(resource: str, name: str) -> ApiError:
    group, plural = _split(resource)
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', {"name": name, **group, "kind": plural})


def already_exists(resource: str, name: str, *, is_being_deleted: bool) -> ApiError:
    group, plural = _split(resource)
    text = f'{resource} "{name}" already exists'
    message = f"object is being deleted: {text}" if is_being_deleted else text
    return ApiError(409, "AlreadyExists", message, {"name": name, **group, "kind": plural})


def conflict(resource: str, name: str, why: str = "") -> ApiError:
    group, plural = _split(resource)
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, {"name": name, **group, "kind": plural})


def forbidden(resource: str, name: str, why: str) -> ApiError:
    group, plural = _split(resource)
    what = f'{resource} "{name}"' if name else resource
    details = {**({"name": name} if name else {}), **group, "kind": plural}
    return ApiError(403, "Forbidden", f"{what} is forbidden: {why}", details)


def invalid(kind: str, name: str, errors: Sequence[tuple[str, str, str]]) -> ApiError:
    """Say what is wrong with an object; each error is a field, a reason such as FieldValueInvalid, and a text."""
    texts = [f"{field}: {text}" for field, _, text in errors]
    causes = [{"reason": reason, "message": text, "field": field} for field, reason, text in errors]
    found = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    group = {"group": "coordination.k8s.io"} if kind == "Lease" else {}
    what = f"{kind}.coordination.k8s.io" if kind == "Lease" else kind
    message = f'{what} "{name}" is invalid: {found}'
    return ApiError(422, "Invalid", message, {"name": name, **group, "kind": kind, "causes": causes})


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def too_many_requests(seconds: int, text: str = "Too many requests, please try again later.") -> ApiError:
    return ApiError(429, "TooManyRequests", text, {"retryAfterSeconds": seconds}, {"Retry-After": str(seconds)})


def expired(asked: int, oldest: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def internal(message: str) -> ApiError:
    text = f"Internal error occurred: {message}"
    return ApiError(500, "InternalError", text, {"causes": [{"message": message}]})


def _split(resource: str) -> tuple[dict[str, str], str]:
    plural, _, group = resource.partition(".")
    return ({"group": group} if group else {}), plural
