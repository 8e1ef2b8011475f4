"""The kinds of objects that this server knows, and where each stands in the API."""

from __future__ import annotations

from dataclasses import dataclass

ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
VIRTUAL = ("create",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    plural: str
    name: str
    group: str = ""
    is_namespaced: bool = True
    verbs: tuple[str, ...] = ALL
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()

    @property
    def resource(self) -> str:
        """The plural with its group, as errors name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"


RBAC, AUTHORIZATION = "rbac.authorization.k8s.io", "authorization.k8s.io"
KINDS = (
    Kind(plural="namespaces", name="Namespace", is_namespaced=False, short_names=("ns",)),
    Kind(
        plural="pods", name="Pod", short_names=("po",), subresources=("attach", "exec", "log", "portforward", "status")
    ),
    Kind(plural="services", name="Service", short_names=("svc",)),
    Kind(plural="secrets", name="Secret"),
    Kind(plural="configmaps", name="ConfigMap", short_names=("cm",)),
    Kind(plural="serviceaccounts", name="ServiceAccount", short_names=("sa",), subresources=("token",)),
    Kind(plural="resourcequotas", name="ResourceQuota", short_names=("quota",)),
    Kind(plural="limitranges", name="LimitRange", short_names=("limits",)),
    Kind(plural="events", name="Event", short_names=("ev",)),
    Kind(plural="leases", name="Lease", group="coordination.k8s.io"),
    Kind(plural="roles", name="Role", group=RBAC),
    Kind(plural="rolebindings", name="RoleBinding", group=RBAC),
    Kind(
        plural="selfsubjectaccessreviews",
        name="SelfSubjectAccessReview",
        group=AUTHORIZATION,
        is_namespaced=False,
        verbs=VIRTUAL,
    ),
    Kind(
        plural="selfsubjectrulesreviews",
        name="SelfSubjectRulesReview",
        group=AUTHORIZATION,
        is_namespaced=False,
        verbs=VIRTUAL,
    ),
)
BY_PLACE = {(kind.group, kind.plural): kind for kind in KINDS}
BY_PLURAL = {kind.plural: kind for kind in KINDS}
BY_NAME = {kind.name: kind for kind in KINDS}
