"""Tokens, the users that they stand for, and what each user may do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from kubernetes.fake.api import status
from kubernetes.fake.api.kinds import BY_PLURAL
from kubernetes.fake.api.store import Store

ACCOUNT = "system:serviceaccount:"
_REVIEWS = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A request, as rules speak of it."""

    verb: str
    group: str = ""
    plural: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


@dataclass
class Rights:
    """Rules are those of Roles: apiGroups, resources, verbs, resourceNames."""

    store: Store
    users_by_token: dict[str, str] = field(default_factory=dict)
    masters: set[str] = field(default_factory=set)
    rules: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)  # by user and namespace

    def add_user(self, user: str, namespace: str, rules: list[dict[str, Any]]) -> str:
        """Let a user do something in a namespace, in place of what this user was let do there before; his token."""
        self.rules[user, namespace] = rules
        return self.token_of(user)

    def token_of(self, user: str) -> str:
        """The first token of a user, made when it is first asked for."""
        for token, known in self.users_by_token.items():
            if known == user:
                return token
        return self.new_token(user)

    def new_token(self, user: str) -> str:
        token = secrets.token_urlsafe(32)
        self.users_by_token[token] = user
        return token

    def revoke_tokens(self, user: str) -> None:
        """Let the tokens of a user be worth nothing from now on."""
        self.users_by_token = {token: known for token, known in self.users_by_token.items() if known != user}

    def authenticate(self, header: str, certificate_name: str) -> str:
        kind, _, token = header.partition(" ")
        if kind.lower() == "bearer":
            user = self.users_by_token.get(token.strip(), "")
            if not user:
                raise status.unauthorized()
            return user
        return certificate_name or "system:anonymous"

    def rules_of(self, user: str, namespace: str) -> list[dict[str, Any]]:
        """The rules for a user in a namespace, by orders and by the RoleBindings in it."""
        if user in self.masters:
            return [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        found = list(self.rules.get((user, namespace), ()))
        for binding in self.store.find_all("rolebindings", namespace) if namespace else ():
            if any(_is(subject, user, namespace) for subject in binding.get("subjects") or ()):
                role = self.store.find("roles", namespace, binding["roleRef"]["name"])
                found += (role or {}).get("rules") or []
        return found

    def may(self, user: str, action: Action) -> bool:
        # Everyone may ask what he may do: system:basic-user of the real one.
        if action.plural in _REVIEWS and user != "system:anonymous":
            return True
        return any(_allows(rule, action) for rule in self.rules_of(user, action.namespace))

    def require(self, user: str, action: Action) -> None:
        if self.may(user, action):
            return
        where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
        why = f'User "{user}" cannot {action.verb} resource "{action.resource}" in API group "{action.group}" {where}'
        known = BY_PLURAL.get(action.plural)
        raise status.forbidden(known.resource if known else action.plural, action.name, why)


def _is(subject: dict[str, Any], user: str, namespace: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user == f"{ACCOUNT}{subject.get('namespace') or namespace}:{subject['name']}"
    return subject["kind"] == "User" and user == subject["name"]


def _allows(rule: dict[str, Any], action: Action) -> bool:
    def has(key: str, *wanted: str) -> bool:
        return bool({"*", *wanted} & set(rule.get(key) or ()))

    if not (has("apiGroups", action.group) and has("verbs", action.verb)):
        return False
    any_of_part = (f"*/{action.subresource}",) if action.subresource else ()
    if not has("resources", action.resource, *any_of_part):
        return False
    return not rule.get("resourceNames") or action.name in rule["resourceNames"]


def review_access(rights: Rights, user: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a SelfSubjectAccessReview."""
    asked = body.get("spec", {}).get("resourceAttributes")
    is_allowed = user in rights.masters
    if asked:
        action = Action(
            verb=asked.get("verb", ""),
            group=asked.get("group", ""),
            plural=asked.get("resource", ""),
            subresource=asked.get("subresource", ""),
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
        )
        is_allowed = rights.may(user, action)
    return {**body, "status": {"allowed": is_allowed}}


def review_rules(rights: Rights, user: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a SelfSubjectRulesReview."""
    found = rights.rules_of(user, body.get("spec", {}).get("namespace", ""))
    own = {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": list(_REVIEWS)}
    return {**body, "status": {"resourceRules": [own, *found], "nonResourceRules": [], "incomplete": False}}
