"""Answers about the server itself: its version, its resources, and as much of their schema as kubectl asks for."""

from __future__ import annotations

from typing import Any

from kubernetes.fake.api.kinds import KINDS

PUBLIC = ("/version", "/healthz", "/livez", "/readyz")


def describe(path: str, version: tuple[int, int]) -> Any:
    """Answer what asks of the server itself; None where a resource is asked for."""
    major, minor = version
    if path == "/version":
        return {
            "major": str(major),
            "minor": str(minor),
            "gitVersion": f"v{major}.{minor}.0",
            "platform": "linux/amd64",
        }
    if path in PUBLIC:
        return "ok"
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return describe_groups()
    if path == "/openapi/v3":
        return schema_places()
    for group in ("", *groups()):
        place = f"/apis/{group}/v1" if group else "/api/v1"
        if path == place:
            return describe_resources(group)
        if path == f"/openapi/v3{place}":
            return describe_schema(group)
        if group and path == f"/apis/{group}":
            return next(found for found in describe_groups()["groups"] if found["name"] == group)
    return None


def groups() -> list[str]:
    return sorted({kind.group for kind in KINDS if kind.group})


def describe_groups() -> dict[str, Any]:
    """The answer to /apis."""
    found = []
    for group in groups():
        version = {"groupVersion": f"{group}/v1", "version": "v1"}
        found.append({"name": group, "versions": [version], "preferredVersion": version})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def describe_resources(group: str) -> dict[str, Any]:
    """The answer to /api/v1 and to /apis/GROUP/v1."""
    found: list[dict[str, Any]] = []
    for kind in KINDS:
        if kind.group != group:
            continue
        facts = {"namespaced": kind.is_namespaced, "kind": kind.name, "singularName": kind.name.lower()}
        names = {"shortNames": kind.short_names, "categories": ["all"] if kind.name in ("Pod", "Service") else []}
        found.append({"name": kind.plural, **facts, "verbs": kind.verbs, **names})
        for part in kind.subresources:
            found.append({"name": f"{kind.plural}/{part}", **facts, "singularName": "", "verbs": ("create", "get")})
    version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": found}


def describe_schema(group: str) -> dict[str, Any]:
    """As much of a group's OpenAPI document as kubectl reads: that the server checks fields itself, kind for kind."""
    paths = {}
    for kind in KINDS:
        if kind.group == group:
            asked = [{"name": name, "in": "query"} for name in ("fieldValidation", "dryRun")]
            mark = {"group": group, "kind": kind.name, "version": "v1"}
            path = f"/api{'s' if group else ''}/{kind.api_version}/namespaces/{{namespace}}/{kind.plural}/{{name}}"
            paths[path] = {"patch": {"parameters": asked, "x-kubernetes-group-version-kind": mark, "responses": {}}}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths}


def schema_places() -> dict[str, Any]:
    """The answer to /openapi/v3."""
    places = {"api/v1": "/openapi/v3/api/v1"}
    places.update({f"apis/{group}/v1": f"/openapi/v3/apis/{group}/v1" for group in groups()})
    return {"paths": {place: {"serverRelativeURL": url} for place, url in places.items()}}
