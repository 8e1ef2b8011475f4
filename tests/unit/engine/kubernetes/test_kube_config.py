"""The cluster that a kubeconfig names, as kubectl finds it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_isolate.engine.kubernetes import kube_config
from pytest_isolate.engine.kubernetes.kube_config import Cluster, ExecPlugin, load_cluster
from pytest_isolate.errors import EngineError, EngineUnreachable


def write(path: Path, **content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **content}))
    return path


def named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, kind: fields}


def simple(path: Path, name: str = "one", user: Any = None, cluster: Any = None, **context: Any) -> Path:
    return write(
        path,
        contexts=[named("context", name, cluster=name, user=name, **context)],
        clusters=[named("cluster", name, server=f"https://{name}:6443/", **(cluster or {}))],
        users=[named("user", name, **(user or {}))],
        **{"current-context": name},
    )


def load(*paths: Path, context: str = "", namespace: str = "") -> Cluster:
    return load_cluster({"KUBECONFIG": os.pathsep.join(map(str, paths))}, context, namespace)


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_current_context_counts(tmp_path: Path) -> None:
    cluster = load(simple(tmp_path / "config", user={"token": "secret"}, namespace="team"))
    assert cluster.server == "https://one:6443"
    assert cluster.namespace == "team"
    assert cluster.token == "secret"
    assert Cluster.from_text(cluster.as_text()) == cluster


def test_options_win_over_the_file(tmp_path: Path) -> None:
    first, second = simple(tmp_path / "1", "one"), simple(tmp_path / "2", "two", namespace="team")
    assert load(first, second, context="two").namespace == "team"
    assert load(first, second, context="two", namespace="mine").namespace == "mine"
    assert load(first, second).namespace == "default"


def test_of_several_files_the_first_that_has_a_name_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "1", clusters=[named("cluster", "c", server="https://first")], contexts=None)
    second = write(
        tmp_path / "2",
        clusters=[named("cluster", "c", server="https://second", **{"tls-server-name": "second"})],
        contexts=[named("context", "x", cluster="c", user="u")],
        **{"current-context": "x"},
    )
    third = write(tmp_path / "3", users=[named("user", "u", token="third")], **{"current-context": "y"})
    cluster = load(tmp_path / "missing", first, second, third)
    assert (cluster.server, cluster.server_name, cluster.token) == ("https://first", "", "third")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl to compare with")
def test_kubectl_reads_several_files_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.pem").write_text("authority")
    first = write(tmp_path / "a" / "1", clusters=[named("cluster", "c", server="https://first")])
    second = write(
        tmp_path / "b" / "2",
        clusters=[
            named("cluster", "c", server="https://second"),
            named("cluster", "d", server="https://d", **{"certificate-authority": "../certs/ca.pem"}),
        ],
        contexts=[named("context", "x", cluster="d", user="u", namespace="team"), named("context", "z", cluster="c")],
        users=[named("user", "u", token="t"), named("user", "v", tokenFile="../certs/ca.pem")],
        **{"current-context": "x"},
    )
    env = {"KUBECONFIG": f"{first}{os.pathsep}{tmp_path / 'none'}{os.pathsep}{second}", "PATH": os.environ["PATH"]}
    for context in ("x", "z"):
        command = ["kubectl", "config", "view", "--minify", "--flatten", "--raw", "-o", "json", "--context", context]
        theirs = json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
        ours = load_cluster(env, context)
        about = theirs["clusters"][0]["cluster"]
        assert ours.server == about["server"]
        assert ours.authority == base64.b64decode(about.get("certificate-authority-data", "")).decode()
        assert ours.namespace == theirs["contexts"][0]["context"].get("namespace", "default")
        users = theirs["users"] or [{"user": {}}]
        assert ours.token == users[0]["user"].get("token", "")


def test_paths_begin_at_the_file_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca", "cert", "key"):
        (tmp_path / "pki" / name).write_text(f"PEM of {name}")
    user = {"client-certificate": "pki/cert", "client-key": "pki/key", "tokenFile": "pki/token", "token": "old"}
    cluster = load(simple(tmp_path / "config", user=user, cluster={"certificate-authority": "pki/ca"}))
    assert (cluster.authority, cluster.certificate, cluster.key) == ("PEM of ca", "PEM of cert", "PEM of key")
    assert (cluster.token, cluster.token_file) == ("", str(tmp_path / "pki" / "token"))


def test_data_wins_over_a_file(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    about = {"certificate-authority-data": data, "certificate-authority": "/nowhere"}
    assert load(simple(tmp_path / "config", cluster=about)).authority == "PEM"


def test_what_else_a_cluster_and_a_user_may_have_is_read(tmp_path: Path) -> None:
    about = {"insecure-skip-tls-verify": True, "proxy-url": "socks5://bastion:1080", "tls-server-name": "api"}
    user = {"username": "me", "password": "pass", "as": "ci", "as-groups": ["a", "b"], "as-user-extra": {"x": ["1"]}}
    cluster = load(simple(tmp_path / "config", cluster=about, user=user))
    assert (cluster.is_verified, cluster.proxy, cluster.server_name) == (False, "socks5://bastion:1080", "api")
    assert (cluster.user, cluster.password) == ("me", "pass")
    assert cluster.impersonates == {
        "Impersonate-User": ("ci",),
        "Impersonate-Group": ("a", "b"),
        "Impersonate-Extra-x": ("1",),
    }


def test_an_exec_plugin_is_read(tmp_path: Path) -> None:
    declared = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "./bin/login",
        "args": ["--cluster", 1],
        "env": [{"name": "PROFILE", "value": "dev"}],
        "installHint": "brew install it\n",
        "provideClusterInfo": True,
        "interactiveMode": "IfAvailable",
    }
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    cluster = load(simple(tmp_path / "config", user={"exec": declared}, cluster={"extensions": [extension]}))
    assert cluster.plugin == ExecPlugin(
        command=str(tmp_path / "bin/login"),
        args=("--cluster", "1"),
        env={"PROFILE": "dev"},
        api_version="client.authentication.k8s.io/v1beta1",
        install_hint="brew install it",
        wants_cluster=True,
        config={"audience": "x"},
    )
    assert Cluster.from_text(cluster.as_text()) == cluster


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "is no YAML\n  found  a mistake in line"),
        ("- a", "it holds no mapping"),
        ("contexts: 3", "contexts is no list"),
        ("contexts: [{name: a, context: b}]", "in contexts, a context is no mapping"),
        ("contexts: [1]", "contexts is no list"),
        ("contexts: [{name: a, context: {cluster: b}}]", "names no current context"),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: b}}]", "has no cluster 'b'"),
        ("current-context: b\ncontexts: [{name: a, context: {cluster: b}}]", "has no context 'b'"),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: [{name: b}]", "names no server"),
    ],
)
def test_a_wrong_file_is_told_without_its_content(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"{content}\n# token-that-is-secret")
    with pytest.raises(EngineError) as caught:
        load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value) or "names no current" in str(caught.value)
    assert "token-that-is-secret" not in str(caught.value)


def test_a_context_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"did you mean 'one'\?") as caught:
        load(simple(tmp_path / "config"), context="onn")
    assert "its contexts: one" in str(caught.value)


@pytest.mark.parametrize("key", ["certificate-authority", "certificate-authority-data"])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(EngineError, match=r"certificate-authority.* in .*config"):
        load(simple(tmp_path / "config", cluster={key: "a"}))


def test_a_login_that_kubectl_has_given_up_is_refused_by_name(tmp_path: Path) -> None:
    user = {"auth-provider": {"name": "gcp"}}
    with pytest.raises(EngineError, match="auth-provider 'gcp'"):
        load(simple(tmp_path / "config", user=user))


@pytest.mark.parametrize("declared", ["login", {"command": "login", "env": ["A=b"]}, {"command": "x", "env": [{}]}])
def test_an_exec_plugin_of_another_form_is_told(tmp_path: Path, declared: object) -> None:
    with pytest.raises(EngineError, match=r"exec plugin in .* is wrong"):
        load(simple(tmp_path / "config", user={"exec": declared}))


def test_where_nothing_is_configured_the_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match="no cluster is configured") as caught:
        load(tmp_path / "missing")
    assert f"{tmp_path / 'missing'}: does not exist" in str(caught.value)


# -- inside a cluster --------------------------------------------------------------------------------------------------


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    for name, text in (("token", "t1\n"), ("ca.crt", "PEM"), ("namespace", "ours\n")):
        (folder / name).write_text(text)
    monkeypatch.setattr(kube_config, "SERVICE_ACCOUNT", folder)
    return folder


def test_the_pods_own_account_is_used_where_no_kubeconfig_is(account: Path, tmp_path: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", "KUBECONFIG": str(tmp_path / "none")}
    cluster = load_cluster(env)
    assert cluster.server == "https://[fd00::1]:443"
    assert (cluster.namespace, cluster.authority) == ("ours", "PEM")
    assert (cluster.token, cluster.token_file) == ("", str(account / "token"))
    assert load_cluster(env, namespace="mine").namespace == "mine"


def test_a_kubeconfig_wins_over_the_pods_own_account(account: Path, tmp_path: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": str(simple(tmp_path / "config"))}
    assert load_cluster(env).server == "https://one:6443"
