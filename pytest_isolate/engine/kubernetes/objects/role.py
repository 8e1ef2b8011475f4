"""Rights in a namespace, each by the feature that it is for: asked for, told when they are missing, as a Role. Pure.

`Rights` does the asking: SelfSubjectAccessReviews, which every user may make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct

from pytest_isolate.errors import EngineError
from pytest_isolate.text import count

ROLE = "pytest-isolate"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_AT_ONCE = 8


class Right(Struct, frozen=True, order=True):
    """A verb on a kind of object, such as `create` on `pods/exec`."""

    resource: str
    verb: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.resource}: {self.verb}"


class Feature(Struct, frozen=True, kw_only=True):
    """Something that pytest-isolate does, and the rights for it. `without` tells what is so where they are missing."""

    name: str
    rights: tuple[Right, ...]
    without: str = ""  # nothing goes without

    @property
    def is_needed(self) -> bool:
        """True where no run is possible without."""
        return not self.without


def _rights(resource: str, *verbs: str, group: str = "") -> tuple[Right, ...]:
    return tuple(Right(resource, verb, group) for verb in verbs)


PODS = Feature(
    name="services are pods",
    # To patch them: which networks a pod is on stands on it.
    rights=_rights("pods", "create", "delete", "get", "list", "patch"),
)
SECRETS = Feature(
    name="programs and variables of services, and networks, are Secrets",
    rights=_rights("secrets", "create", "delete", "get", "list"),
)
# A WebSocket asked for `get` up to 1.34, and asks for `create` as well from 1.35 on.
EXEC = Feature(
    name="start, stop, files and commands in services go by exec", rights=_rights("pods/exec", "create", "get")
)
LOGS = Feature(name="logs of services are read there", rights=_rights("pods/log", "get"))
FORWARD = Feature(
    name="tests outside the cluster reach services by port-forward",
    rights=_rights("pods/portforward", "create", "get"),
    without="only tests in the cluster reach services",
)
SERVICES = Feature(
    name="tests in the cluster reach services at addresses known before they start",
    rights=_rights("services", "create", "delete", "get", "list"),
    without="tests in the cluster reach services at their Pods' own addresses, which are known only when these run",
)
WATCH = Feature(
    name="changes of pods are told at once", rights=_rights("pods", "watch"), without="pods are asked again and again"
)
LEASES = Feature(
    name="a Lease owns all objects of a run",
    rights=_rights("leases", "create", "delete", "get", "list", "patch", group="coordination.k8s.io"),
    without="a Secret owns them, and a run that vanished with its machine is removed there only",
)
BUDGET = Feature(
    name="the namespace's quota is the run's budget",
    rights=(*_rights("resourcequotas", "get", "list"), *_rights("limitranges", "get", "list")),
    without="a quota is noticed only when it is full",
)
FEATURES = (PODS, SECRETS, EXEC, LOGS, FORWARD, SERVICES, WATCH, LEASES, BUDGET)


class MissingRights(EngineError):
    """The user of the cluster lacks rights that no run goes without."""

    def __init__(self, namespace: str, missing: Sequence[Right], features: Sequence[Feature] = FEATURES) -> None:
        self.missing = tuple(missing)
        needed = [feature for feature in features if feature.is_needed and set(feature.rights) & set(missing)]
        super().__init__(
            f"--isolate-engine=kubernetes lacks {count(len(self.missing), 'right')} in namespace {namespace!r}",
            tried=f"SelfSubjectAccessReview for {count(sum(len(f.rights) for f in features), 'right')}",
            found=[f"{_say_verbs(feature, missing)}, because {feature.name}" for feature in needed],
            do=[
                "have the Role applied, by one who may:",
                f"pytest-isolate kubernetes role --namespace={namespace} | kubectl apply -f -",
            ],
        )


class Permissions(Struct, frozen=True, kw_only=True):
    """Features that the user of the cluster may not use."""

    lacking: tuple[Feature, ...] = ()

    def allows(self, feature: Feature) -> bool:
        """Tell that every right of a feature is there."""
        return feature not in self.lacking

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is so for want of rights."""
        return tuple(f"no rights to {_say_verbs(f, f.rights)}, so {f.without}" for f in self.lacking)


def _say_verbs(feature: Feature, of: Iterable[Right]) -> str:
    by_resource: dict[str, list[str]] = {}
    for right in feature.rights:
        if right in of:
            by_resource.setdefault(right.resource, []).append(right.verb)
    return "; ".join(f"{resource}: {', '.join(verbs)}" for resource, verbs in by_resource.items())


def build_review(right: Right, namespace: str) -> dict[str, Any]:
    """The question after one right."""
    resource, _, part = right.resource.partition("/")
    attributes = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": resource}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, **({"subresource": part} if part else {})}},
    }


def ask_permissions(
    create: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
    namespace: str,
    features: Sequence[Feature] = FEATURES,
) -> Permissions:
    """The features that are allowed; MissingRights where one is not that is needed."""

    def is_allowed(right: Right) -> bool:
        return bool(create(REVIEWS, build_review(right, namespace))["status"].get("allowed"))

    rights = [right for feature in features for right in feature.rights]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        missing = [right for right, allowed in zip(rights, pool.map(is_allowed, rights), strict=True) if not allowed]
    needed = [right for feature in features if feature.is_needed for right in feature.rights if right in missing]
    if needed:
        raise MissingRights(namespace, needed, features)
    return Permissions(lacking=tuple(feature for feature in features if set(feature.rights) & set(missing)))


# -- the Role ----------------------------------------------------------------------------------------------------------


def build_role(namespace: str, account: str = "default", features: Sequence[Feature] = FEATURES) -> str:
    """The Role with the least rights for these features, and its binding to a service account, as YAML."""
    lines = [
        "# The least that pytest-isolate needs. Leave out what it is said to go without.",
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        "metadata:",
        f"  name: {ROLE}",
        f"  namespace: {namespace}",
        "rules:",
    ]
    for feature in features:
        lines += ["", f"  # {feature.name[0].upper()}{feature.name[1:]}.", *_say_without(feature), *_rules(feature)]
    return "\n".join([*lines, *_binding(namespace, account), ""])


def _say_without(feature: Feature) -> list[str]:
    return [f"  # Without: {feature.without}."] if feature.without else []


def _rules(feature: Feature) -> list[str]:
    lines = []
    by_place: dict[tuple[str, str], list[str]] = {}
    for right in feature.rights:
        by_place.setdefault((right.group, right.resource), []).append(right.verb)
    for (group, resource), verbs in by_place.items():
        lines += [
            f'  - apiGroups: ["{group}"]',
            f'    resources: ["{resource}"]',
            f"    verbs: [{', '.join(f'{chr(34)}{verb}{chr(34)}' for verb in verbs)}]",
        ]
    return lines


def _binding(namespace: str, account: str) -> list[str]:
    return [
        "---",
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: RoleBinding",
        "metadata:",
        f"  name: {ROLE}",
        f"  namespace: {namespace}",
        "roleRef:",
        "  apiGroup: rbac.authorization.k8s.io",
        "  kind: Role",
        f"  name: {ROLE}",
        "subjects:",
        "  - kind: ServiceAccount",
        f"    name: {account}",
        f"    namespace: {namespace}",
    ]
