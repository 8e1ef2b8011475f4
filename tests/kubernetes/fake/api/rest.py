"""The verbs on objects, but for watch."""

from __future__ import annotations

import base64
import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes.fake.api import admission, defaults, rights, status, validation
from kubernetes.fake.api.kinds import Kind
from kubernetes.fake.api.rights import ACCOUNT, Rights
from kubernetes.fake.api.selectors import parse_selectors
from kubernetes.fake.api.store import Object, Store, timestamp

Query = Mapping[str, str]


class Rest:
    def __init__(self, store: Store, rights: Rights, allocate_address: Callable[[], str]) -> None:
        self.store = store
        self.rights = rights
        self._allocate_address = allocate_address

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return self._shown(kind, self.store.get(kind.plural, namespace, name))

    def list_page(self, kind: Kind, namespace: str, query: Query) -> Object:
        """One page, where the query sets a limit; the rest is asked for by the token of the answer."""
        with self.store.changed:
            items, version = self.select(kind, namespace, query), self.store.version
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if after := query.get("continue"):
            place = tuple(json.loads(base64.b64decode(after)))
            items = [found for found in items if _place(found) > place]
        limit = int(query.get("limit") or 0)
        if 0 < limit < len(items):
            meta["continue"] = base64.b64encode(json.dumps(_place(items[limit - 1])).encode()).decode()
            meta["remainingItemCount"] = len(items) - limit
            items = items[:limit]
        shown = [
            {k: v for k, v in self._shown(kind, found).items() if k not in ("kind", "apiVersion")} for found in items
        ]
        return {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": meta, "items": shown}

    def select(self, kind: Kind, namespace: str, query: Query) -> list[Object]:
        matches = parse_selectors(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        return [found for found in self.store.find_all(kind.plural, namespace) if matches(found)]

    def create(self, kind: Kind, namespace: str, body: Object, query: Query, user: str) -> Object:
        if kind.name == "SelfSubjectAccessReview":
            return rights.review_access(self.rights, user, body)
        if kind.name == "SelfSubjectRulesReview":
            return rights.review_rules(self.rights, user, body)
        body = copy.deepcopy(body)
        defaults.set_metadata(kind, namespace, body)
        meta = body["metadata"]
        with self.store.changed:
            if kind.is_namespaced:
                self._check_namespace(kind, namespace, meta["name"])
            defaults.set_defaults(kind, body, lambda: self._allocate_address() if not query.get("dryRun") else "")
            admission.set_by_admission(self.store, kind, body)
            validation.check(kind, body)
            admission.check_admission(self.store, kind, body)
            if query.get("dryRun"):
                return body
            made = self.store.create(kind.plural, body)
            if kind.name == "Namespace":
                self._fill_namespace(meta["name"])
            return made

    def create_token(self, namespace: str, name: str, body: Object) -> Object:
        """A new token of a service account, as TokenRequest gives it."""
        self.store.get("serviceaccounts", namespace, name)
        token = self.rights.new_token(f"{ACCOUNT}{namespace}:{name}")
        seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600
        body["status"] = {"token": token, "expirationTimestamp": timestamp(time.time() + seconds)}
        return body

    def update(self, kind: Kind, namespace: str, name: str, body: Object, part: str = "") -> Object:
        """Put another object in the place of one; a resourceVersion in it has to be that of now."""

        def change(old: Object) -> Object:
            return copy.deepcopy(body)

        return self._change(kind, namespace, name, change, part)

    def patch(self, kind: Kind, namespace: str, name: str, body: Any, media_type: str, part: str = "") -> Object:
        def change(old: Object) -> Object:
            if media_type == "application/json-patch+json":
                return _apply_operations(old, body)
            return _merge(old, body)  # type: ignore[no-any-return]  # an object merged with one is an object

        return self._change(kind, namespace, name, change, part)

    def _change(self, kind: Kind, namespace: str, name: str, edit: Callable[[Object], Object], part: str) -> Object:
        def change(old: Object) -> Object:
            new = edit(copy.deepcopy(old))
            meta = new.setdefault("metadata", {})
            asked = meta.get("resourceVersion")
            if asked and asked != old["metadata"]["resourceVersion"]:
                raise status.conflict(kind.resource, name)
            if meta.get("uid") and meta["uid"] != old["metadata"]["uid"]:
                _check_preconditions(kind, old, {"uid": meta["uid"]})
            new["kind"], new["apiVersion"] = kind.name, kind.api_version
            for key in (
                "uid",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "name",
                "namespace",
            ):
                if key in old["metadata"]:
                    meta[key] = old["metadata"][key]
            if part == "status":
                return {**old, "status": new.get("status")}
            if "status" in old:
                new["status"] = old["status"]
            if kind.name == "Service":
                new["spec"] = {
                    **new["spec"],
                    "clusterIP": old["spec"]["clusterIP"],
                    "clusterIPs": old["spec"]["clusterIPs"],
                }
            if kind.name in ("Secret", "Service"):
                defaults.set_defaults(kind, new, self._allocate_address)
            validation.check(kind, new, old)
            return new

        changed = self.store.update(kind.plural, namespace, name, change)
        # The last finalizer of what is marked with no grace was taken away.
        if changed["metadata"].get("deletionGracePeriodSeconds") == 0 and not changed["metadata"].get("finalizers"):
            self.store.remove(kind.plural, changed)
        return changed

    def delete(self, kind: Kind, namespace: str, name: str, options: Object, query: Query) -> Object:
        found = self.store.get(kind.plural, namespace, name)
        _check_preconditions(kind, found, options.get("preconditions") or {})
        last = self._delete_one(kind, found, options, query)
        if kind.name in ("Pod", "Namespace"):
            return last
        details = {"name": name, "kind": kind.plural, "uid": found["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def delete_collection(self, kind: Kind, namespace: str, options: Object, query: Query) -> Object:
        found = self.select(kind, namespace, query)
        for one in found:
            self._delete_one(kind, one, options, query)
        meta = {"resourceVersion": str(self.store.version)}
        return {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": meta, "items": found}

    def _delete_one(self, kind: Kind, found: Object, options: Object, query: Query) -> Object:
        if query.get("propagationPolicy", options.get("propagationPolicy")) == "Orphan":
            self._orphan(found)
        if query.get("dryRun") or options.get("dryRun"):
            return found
        grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        return self.delete_gracefully(kind, found, None if grace is None else int(grace))

    def delete_gracefully(self, kind: Kind, found: Object, grace: int | None = None) -> Object:
        """Mark a Pod that has a node, and what has finalizers; what else is removed at once."""
        seconds = self._find_grace(kind, found, grace)

        def mark(now: Object) -> None:
            meta = now["metadata"]
            if "deletionTimestamp" in meta and meta["deletionGracePeriodSeconds"] <= seconds:
                return
            # The server rounds: what is marked with a second is due within two.
            meta["deletionTimestamp"] = timestamp(math.ceil(time.time() + seconds))
            meta["deletionGracePeriodSeconds"] = seconds
            if kind.name == "Namespace":
                now["status"]["phase"] = "Terminating"

        if seconds == 0 and kind.name != "Namespace" and not found["metadata"].get("finalizers"):
            self.store.remove(kind.plural, found)
            return found
        return self.store.update_if_there(kind.plural, found, mark) or found

    def _find_grace(self, kind: Kind, found: Object, grace: int | None) -> int:
        if (
            kind.name != "Pod"
            or not found["spec"].get("nodeName")
            or found["status"]["phase"] in ("Succeeded", "Failed")
        ):
            return 0
        return int(found["spec"]["terminationGracePeriodSeconds"]) if grace is None else max(grace, 0)

    def _orphan(self, owner: Object) -> None:
        uid = owner["metadata"]["uid"]

        def free(now: Object) -> None:
            now["metadata"]["ownerReferences"] = [one for one in _owners(now) if one["uid"] != uid]

        for plural, found in self.store.all_objects():
            if any(one["uid"] == uid for one in _owners(found)):
                self.store.update_if_there(plural, found, free)

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        if "deletionTimestamp" in self.store.get("namespaces", "", namespace)["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise status.forbidden(kind.resource, name, why)

    def _fill_namespace(self, name: str) -> None:
        meta = {"name": "default", "namespace": name}
        self.store.create("serviceaccounts", {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": meta})

    def _shown(self, kind: Kind, found: Object) -> Object:
        return admission.with_usage(self.store, found) if kind.name == "ResourceQuota" else found


def _owners(found: Object) -> list[Any]:
    return found["metadata"].get("ownerReferences") or []


def _place(found: Object) -> tuple[str, str]:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _check_preconditions(kind: Kind, found: Object, wanted: Mapping[str, str]) -> None:
    meta = found["metadata"]
    for key, word in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(key) and wanted[key] != meta[key]:
            why = f"Precondition failed: {word} in precondition: {wanted[key]}, {word} in object meta: {meta[key]}"
            raise status.conflict(kind.resource, meta["name"], why)


def _merge(old: Any, patch: Any) -> Any:
    """Merge as RFC 7386 says; the directives of strategic patches are left out."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _apply_operations(old: Object, operations: list[dict[str, Any]]) -> Object:
    """Apply a JSON patch: add, replace, remove and test."""
    for operation in operations:
        *path, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
        here: Any = old
        for part in path:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        key: Any = last if isinstance(here, dict) else len(here) if last == "-" else int(last)
        if operation["op"] == "remove":
            del here[key]
        elif operation["op"] == "test":
            if here[key] != operation["value"]:
                raise status.ApiError(422, "Invalid", "the server rejected our request due to an error in our request")
        elif operation["op"] == "add" and isinstance(here, list):
            here.insert(key, operation["value"])
        else:
            here[key] = operation["value"]
    return old
