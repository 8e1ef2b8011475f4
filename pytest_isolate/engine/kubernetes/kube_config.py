"""The cluster to use, found as kubectl finds it: files of KUBECONFIG, or the service account of the pod around us."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pytest_isolate.errors import EngineError, EngineUnreachable, suggest
from pytest_isolate.user_files import find_home, read_text

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT_NAMESPACE = "default"
_PLUGIN_API = "client.authentication.k8s.io/v1"


class ExecPlugin(Struct, frozen=True, kw_only=True):
    """A program that prints credentials, as a kubeconfig declares it."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    api_version: str = _PLUGIN_API
    install_hint: str = ""
    wants_cluster: bool = False
    needs_terminal: bool = False
    config: Any = None  # for it alone, from the cluster's extensions


class Cluster(Struct, frozen=True, kw_only=True):
    """Address of an API server, the namespace to work in, and the login to show there. Texts of PEM, never their files.

    `msgspec.json` writes it down for another process and reads it there; it may hold secrets.
    """

    server: str
    namespace: str = _DEFAULT_NAMESPACE
    context: str = ""  # empty inside a cluster
    source: str = ""  # where it was found, for texts
    authority: str = ""  # empty to trust what the system trusts
    is_verified: bool = True
    server_name: str = ""  # of its certificate, where that is not the address's
    proxy: str = ""
    token: str = ""
    token_file: str = ""  # read anew for each request: service accounts change theirs every hour
    certificate: str = ""
    key: str = ""
    user: str = ""
    password: str = ""
    plugin: ExecPlugin | None = None
    impersonates: Mapping[str, tuple[str, ...]] = {}  # headers

    def as_text(self) -> str:
        """All of it in one text, for another process."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_text(cls, text: str) -> Cluster:
        """The cluster that `as_text` has written down."""
        return msgspec.json.decode(text, type=cls)


def load_cluster(env: Mapping[str, str], context: str = "", namespace: str = "") -> Cluster:
    """The cluster of a context, or of the current one; inside a pod without any kubeconfig, the pod's own.

    EngineUnreachable where nothing says which cluster, EngineError where what says so is wrong.
    """
    files = config_files(env)
    config = _Merged([_ConfigFile(path) for path in files if path.exists()])
    if not config.contexts and not context and is_inside_cluster(env):
        return _own_cluster(env, namespace)
    if not config.contexts and not context:
        raise EngineUnreachable(
            "no cluster is configured",
            tried=[f"{path}: {'has no context' if path.exists() else 'does not exist'}" for path in files],
            found="this is no pod with a service account",
            do="name a kubeconfig in KUBECONFIG",
        )
    return config.cluster(context or config.current, namespace)


def config_files(env: Mapping[str, str]) -> list[Path]:
    """The files that a kubeconfig is read from, the first one first; some may not exist."""
    named = [name for name in env.get("KUBECONFIG", "").split(os.pathsep) if name]
    if named:
        return [Path(name) for name in named]
    home = find_home()
    return [home / ".kube" / "config"] if home else []


def is_inside_cluster(env: Mapping[str, str]) -> bool:
    """Tell that this process runs in a pod which has a service account."""
    return bool(env.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").exists()


def _own_cluster(env: Mapping[str, str], namespace: str) -> Cluster:
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    own = SERVICE_ACCOUNT / "namespace"
    return Cluster(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace or (read_text(own).strip() if own.exists() else _DEFAULT_NAMESPACE),
        source=f"the service account in {SERVICE_ACCOUNT}",
        authority=read_text(SERVICE_ACCOUNT / "ca.crt") if (SERVICE_ACCOUNT / "ca.crt").exists() else "",
        token_file=str(SERVICE_ACCOUNT / "token"),
    )


def read_yaml(path: Path, what: str) -> Mapping[str, Any]:
    """The mapping in a file of YAML; EngineError for anything else. Errors never quote it: it may hold secrets."""
    import yaml  # only where there is such a file

    try:
        found = yaml.load(read_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # a safe one
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{what} {path} could not be read", found=str(error)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise EngineError(f"{what} {path} is no YAML", found=f"a mistake{place}") from None
    if found is not None and not isinstance(found, dict):
        raise EngineError(f"{what} {path} is none", found="it holds no mapping")
    return found or {}


class _ConfigFile:
    """A kubeconfig file, read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: Mapping[str, Any] = read_yaml(path, "the kubeconfig")

    def entries(self, kind: str, key: str) -> dict[str, _Entry]:
        """The entries that are listed there, by name."""
        listed = self.content.get(kind) or []
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise EngineError(f"the kubeconfig {self.path} is wrong", found=f"{kind} is no list of mappings")
        if not all(isinstance(one.get(key) or {}, dict) for one in listed):
            raise EngineError(f"the kubeconfig {self.path} is wrong", found=f"in {kind}, a {key} is no mapping")
        return {str(one.get("name")): _Entry(self.path, one.get(key) or {}) for one in listed}


class _Entry(Struct, frozen=True):
    """A cluster, context or user of a kubeconfig; paths in it begin at the file's folder."""

    file: Path
    fields: Mapping[str, Any]

    def text(self, key: str) -> str:
        return str(self.fields.get(key) or "")

    def path(self, key: str) -> str:
        return str(self.file.parent.absolute() / self.text(key)) if self.text(key) else ""

    def pem(self, key: str) -> str:
        """A text of PEM: given as data, which wins, or as a file."""
        data, path = self.text(f"{key}-data"), self.path(key)
        try:
            if data:
                return base64.b64decode(data, validate=False).decode()
            return read_text(path) if path else ""
        except (binascii.Error, UnicodeDecodeError) as error:
            raise EngineError(f"{key} in {self.file} is wrong", found="it is no PEM in base64") from error
        except OSError as error:
            raise EngineError(f"{key} in {self.file} could not be read", found=str(error)) from error


class _Merged:
    """All files as one: of each name, the first file that has it counts, as kubectl has it."""

    def __init__(self, files: Sequence[_ConfigFile]) -> None:
        self._files = files
        self.contexts = self._merge("contexts", "context")
        self._clusters = self._merge("clusters", "cluster")
        self._users = self._merge("users", "user")
        self.current = next(filter(None, (str(file.content.get("current-context") or "") for file in files)), "")

    def cluster(self, context: str, namespace: str) -> Cluster:
        """The cluster, and the user, of a context."""
        if not context:
            raise EngineError(
                "the kubeconfig names no current context",
                found=f"its contexts: {', '.join(sorted(self.contexts))}",
                do="choose one: kubectl config use-context NAME, or --isolate-kube-context=NAME",
            )
        chosen = self._find("context", self.contexts, context)
        cluster = self._find("cluster", self._clusters, chosen.text("cluster"))
        user_name = chosen.text("user")
        user = self._find("user", self._users, user_name) if user_name else _Entry(chosen.file, {})
        if not cluster.text("server"):
            raise EngineError(f"cluster {chosen.text('cluster')!r} in {cluster.file} names no server")
        plugin = _find_plugin(user, cluster)
        return Cluster(
            server=cluster.text("server").rstrip("/"),
            namespace=namespace or chosen.text("namespace") or _DEFAULT_NAMESPACE,
            context=context,
            source=f"context {context!r} in {chosen.file}",
            authority=cluster.pem("certificate-authority"),
            is_verified=not cluster.fields.get("insecure-skip-tls-verify"),
            server_name=cluster.text("tls-server-name"),
            proxy=cluster.text("proxy-url"),
            # A token file wins over a token that is written down: the latter is what it was once.
            token="" if user.text("tokenFile") else user.text("token"),
            token_file=user.path("tokenFile"),
            certificate=user.pem("client-certificate"),
            key=user.pem("client-key"),
            user=user.text("username"),
            password=user.text("password"),
            plugin=plugin,
            impersonates=_read_impersonation(user),
        )

    def _find(self, kind: str, entries: Mapping[str, _Entry], name: str) -> _Entry:
        if name in entries:
            return entries[name]
        raise EngineError(
            f"the kubeconfig has no {kind} {name!r}{suggest(name, sorted(entries))}",
            tried=[str(file.path) for file in self._files],
            found=f"its {kind}s: {', '.join(sorted(entries)) or 'none'}",
        )

    def _merge(self, kind: str, key: str) -> dict[str, _Entry]:
        found: dict[str, _Entry] = {}
        for file in self._files:
            found = {**file.entries(kind, key), **found}
        return found


def _read_impersonation(user: _Entry) -> dict[str, tuple[str, ...]]:
    headers = {
        "Impersonate-User": (user.text("as"),),
        "Impersonate-Uid": (user.text("as-uid"),),
        "Impersonate-Group": tuple(map(str, user.fields.get("as-groups") or ())),
    }
    extra = user.fields.get("as-user-extra") or {}
    headers |= {f"Impersonate-Extra-{name}": tuple(map(str, values)) for name, values in extra.items()}
    return {name: values for name, values in headers.items() if any(values)}


def _find_plugin(user: _Entry, cluster: _Entry) -> ExecPlugin | None:
    provider = user.fields.get("auth-provider")
    if provider:
        name = provider.get("name") if isinstance(provider, dict) else provider
        raise EngineError(
            f"the login of {user.file} is not supported",
            found=f"auth-provider {name!r}, which kubectl has given up",
            do="use an exec plugin: gke-gcloud-auth-plugin, kubelogin, kubectl oidc-login",
        )
    declared = user.fields.get("exec")
    try:
        return _read_plugin(user, cluster, declared) if declared else None
    except (AttributeError, KeyError, TypeError) as error:
        raise EngineError(f"the exec plugin in {user.file} is wrong", found="it has not the form of one") from error


def _read_plugin(user: _Entry, cluster: _Entry, declared: Mapping[str, Any]) -> ExecPlugin:
    command = str(declared.get("command") or "")
    if os.sep in command:
        command = str(user.file.parent.absolute() / command)
    extensions = cluster.fields.get("extensions") or ()
    config = [one.get("extension") for one in extensions if one.get("name") == "client.authentication.k8s.io/exec"]
    return ExecPlugin(
        command=command,
        args=tuple(map(str, declared.get("args") or ())),
        env={str(one["name"]): str(one.get("value", "")) for one in declared.get("env") or ()},
        api_version=str(declared.get("apiVersion") or _PLUGIN_API),
        install_hint=str(declared.get("installHint") or "").strip(),
        wants_cluster=bool(declared.get("provideClusterInfo")),
        needs_terminal=declared.get("interactiveMode") == "Always",
        config=config[0] if config else None,
    )
