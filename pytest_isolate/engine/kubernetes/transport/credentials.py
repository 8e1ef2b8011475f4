"""The login to show an API server: a token, a certificate, or what an exec plugin prints."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
import time
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.engine.kubernetes.kube_config import Cluster, ExecPlugin
from pytest_isolate.errors import EngineError
from pytest_isolate.user_files import read_text

# A plugin may ask an identity provider. One that waits for a person does so at a terminal, which it is not given.
_PLUGIN_WITHIN_S = 60
# Ahead of its end, for a request takes its time and clocks differ.
_RENEWED_AHEAD_S = 10
_TOLD_LINES = 5


class Login(Struct, frozen=True, kw_only=True):
    """A login to show with a request. `expires_at` is in seconds of the epoch, 0 for never."""

    authorization: str = ""
    certificate: str = ""
    key: str = ""
    expires_at: float = 0

    @property
    def is_fresh(self) -> bool:
        """True as long as it can be used."""
        return not self.expires_at or time.time() < self.expires_at - _RENEWED_AHEAD_S


class Credentials:
    """Logins of one user of a cluster, each as it is at the moment. Safe to use from several threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._kept: Login | None = None  # of the plugin

    def login(self) -> Login:
        """The login of this moment: tokens in files change, and what plugins print expires."""
        cluster = self._cluster
        own = Login(certificate=cluster.certificate, key=cluster.key)
        if cluster.token_file:
            return replace(own, authorization=f"Bearer {_read_token(cluster.token_file)}")
        if cluster.token:
            return replace(own, authorization=f"Bearer {cluster.token}")
        if cluster.user:
            both = base64.b64encode(f"{cluster.user}:{cluster.password}".encode()).decode()
            return replace(own, authorization=f"Basic {both}")
        if not cluster.plugin:
            return own
        with self._lock:  # one plugin at a time: some keep a file of their own
            if not self._kept or not self._kept.is_fresh:
                self._kept = run_plugin(cluster.plugin, cluster)
            return self._kept

    def renew(self, refused: Login) -> bool:
        """Forget a login that the server has refused; false where the next one would be the same."""
        if not self._cluster.plugin or self._cluster.token or self._cluster.token_file or self._cluster.user:
            return False
        with self._lock:
            if self._kept is refused:  # else another thread has renewed it meanwhile
                self._kept = None
        return True


def run_plugin(plugin: ExecPlugin, cluster: Cluster) -> Login:
    """The login that a plugin prints; EngineError with its own words where it prints none."""
    what = f"the login to {cluster.server} failed: {plugin.command} gave none"
    if plugin.needs_terminal:
        raise EngineError(what, found="it needs a terminal (interactiveMode: Always)", do="log in by hand before")
    try:
        ended = subprocess.run(  # noqa: S603  # the user's own program, as the kubeconfig names it
            [plugin.command, *plugin.args],
            env={**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(_plugin_input(plugin, cluster))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PLUGIN_WITHIN_S,
            check=False,
        )
    except OSError as error:
        do = plugin.install_hint or "install it, or see that it is on the PATH"
        raise EngineError(what, found=error.strerror or str(error), do=do) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(what, found=f"it did not end within {_PLUGIN_WITHIN_S} s", do="log in by hand") from error
    said = ended.stderr.decode(errors="replace").strip().splitlines()[-_TOLD_LINES:]
    if ended.returncode:
        raise EngineError(what, found=[f"it ended with code {ended.returncode}", *said], do=plugin.install_hint)
    try:
        return _read_credential(json.loads(ended.stdout))
    except (ValueError, KeyError, TypeError, AttributeError):
        # Its output is not shown, for it may hold a token.
        raise EngineError(what, found=["its output is no ExecCredential with a token or certificate", *said]) from None


def _plugin_input(plugin: ExecPlugin, cluster: Cluster) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.wants_cluster:
        about = {
            "server": cluster.server,
            "tls-server-name": cluster.server_name,
            "insecure-skip-tls-verify": not cluster.is_verified,
            "certificate-authority-data": base64.b64encode(cluster.authority.encode()).decode(),
            "proxy-url": cluster.proxy,
            "config": plugin.config,
        }
        spec["cluster"] = {name: value for name, value in about.items() if value}
    return {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}


def _read_credential(printed: Any) -> Login:
    status = printed["status"]
    token = status.get("token")
    certificate, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
    if not token and not (certificate and key):
        raise ValueError
    ends = status.get("expirationTimestamp")
    return Login(
        authorization=f"Bearer {token}" if token else "",
        certificate=certificate,
        key=key,
        expires_at=_read_moment(ends) if ends else 0,
    )


def _read_moment(text: str) -> float:
    """Seconds of the epoch; fractions of any length are more than Python 3.10 reads."""
    return datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).timestamp()


def _read_token(path: str) -> str:
    try:
        return read_text(path).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"the token in {path} could not be read", found=str(error)) from error
