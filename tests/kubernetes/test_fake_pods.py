"""Pods of the fake cluster as containers: what runs in them, and how they end."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE, forever, program
from waiting import wait_for

from .calling import Api
from .conftest import Kubectl, Pods
from .fake.handle import FakeCluster

pytestmark = [pytest.mark.engine, pytest.mark.linux]


def secret(name: str, **texts: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "stringData": texts}


def output(api: Api, name: str) -> str:
    code, text = api.call("GET", f"pods/{name}/log")
    assert code == 200, text
    return str(text)


def run_to_end(api: Api, pods: Pods, command: list[str], **spec: Any) -> str:
    """The output of a Pod that ends well."""
    name = pods.create(command, **spec)
    ended = pods.wait_for(name, "terminated")
    assert ended["exitCode"] == 0, output(api, name)
    return output(api, name)


def test_a_pod_goes_from_pending_to_running_to_its_end(api: Api, pods: Pods) -> None:
    name = pods.create(program("sleep 2", "exit 3"))
    assert pods.get(name)["status"]["phase"] == "Pending"
    pods.wait_for(name, "running")
    status = pods.get(name)["status"]
    assert status["phase"] == "Running"
    assert status["podIP"]
    assert {one["type"]: one["status"] for one in status["conditions"]}["Ready"] == "True"
    ended = pods.wait_for(name, "terminated")
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    wait_for(lambda: pods.get(name)["status"]["phase"] == "Failed")
    done = pods.create(program("exit 0"))
    assert pods.wait_for(done, "terminated")["reason"] == "Completed"
    assert pods.get(done)["status"]["phase"] == "Succeeded"


def test_a_program_that_is_not_there_is_a_start_error(pods: Pods) -> None:
    name = pods.create(["no-such-program"])
    ended = pods.wait_for(name, "terminated")
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["startedAt"] == "1970-01-01T00:00:00Z"
    assert 'exec: "no-such-program": executable file not found in $PATH' in ended["message"]


def test_who_takes_too_much_memory_is_killed_for_it(pods: Pods) -> None:
    name = pods.create(program("eat"), container={"resources": {"limits": {"memory": "32Mi"}}})
    ended = pods.wait_for(name, "terminated")
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_variables_and_what_they_refer_to(api: Api, pods: Pods) -> None:
    api.create("secrets", secret("keys", SECRET="$(PLAIN)", other="x"))
    api.create("configmaps", {"metadata": {"name": "texts"}, "data": {"a": "from a map"}})
    env = [
        {"name": "PLAIN", "value": "text"},
        {"name": "EXPANDED", "value": "$(PLAIN) $$(PLAIN) $(NONE)"},
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "texts", "key": "a"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    container = {"env": env, "envFrom": [{"secretRef": {"name": "keys"}, "prefix": "K_"}], "args": ["$(PLAIN)"]}
    command = ["sh", "-c", 'echo "$1"; env', "sh"]
    name = pods.create(command, container=container)
    pods.wait_for(name, "terminated")
    lines = output(api, name).splitlines()
    assert lines[0] == "text"
    found = dict(line.split("=", 1) for line in lines[1:])
    assert found["EXPANDED"] == "text $(PLAIN) $(NONE)"
    assert found["K_SECRET"] == "$(PLAIN)"
    assert found["K_other"] == "x"
    assert found["ONE"] == "from a map"
    assert found["NAME"] == name == found["HOSTNAME"]
    assert found["ADDRESS"] == pods.get(name)["status"]["podIP"]


def test_files_of_secrets_and_config_maps(api: Api, pods: Pods) -> None:
    api.create(
        "secrets", {"metadata": {"name": "files"}, "data": {"run": base64.b64encode(b"#!/bin/sh\necho ran\n").decode()}}
    )
    api.create("configmaps", {"metadata": {"name": "hosts"}, "data": {"hosts": "10.1.2.3 under_score Capital\n"}})
    volumes = [
        {"name": "files", "secret": {"secretName": "files", "defaultMode": 0o555}},
        {"name": "hosts", "configMap": {"name": "hosts", "items": [{"key": "hosts", "path": "table"}]}},
        {"name": "own", "emptyDir": {}},
        {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
    ]
    mounts = [
        {"name": "files", "mountPath": "/folder"},
        {"name": "files", "mountPath": "/bin/one", "subPath": "run"},
        {"name": "hosts", "mountPath": "/etc/hosts", "subPath": "table"},
        {"name": "own", "mountPath": "/own"},
        {"name": "own", "mountPath": "/part", "subPath": "deep/er"},
        {"name": "fast", "mountPath": "/fast"},
    ]
    script = (
        "/folder/run; /bin/one; getent hosts under_score; stat -L -c %a /folder/run; touch /folder/new 2>&1; "
        "echo kept > /part/file; cat /own/deep/er/file; df --output=fstype,size /fast | tail -1; cat /etc/hosts | wc -l"
    )
    text = run_to_end(api, pods, ["sh", "-c", script], volumes=volumes, container={"volumeMounts": mounts})
    ran, again, host, mode, refused, kept, fast, lines = text.splitlines()
    assert (ran, again, mode, kept, lines) == ("ran", "ran", "555", "kept", "1")
    assert host.split() == ["10.1.2.3", "under_score", "Capital"]
    assert "Read-only file system" in refused
    assert fast.split() == ["tmpfs", "8192"]


def test_a_folder_of_the_host_and_fields_of_the_pod(api: Api, pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    items = [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
    sources = [{"downwardAPI": {"items": items}}, {"serviceAccountToken": {"path": "token"}}]
    volumes = [
        {"name": "host", "hostPath": {"path": str(tmp_path)}},
        {"name": "fields", "projected": {"sources": sources}},
    ]
    mounts = [{"name": "host", "mountPath": "/host"}, {"name": "fields", "mountPath": "/fields"}]
    script = "cat /host/file /fields/name; echo; wc -c < /fields/token; echo back > /host/back"
    name = pods.create(["sh", "-c", script], volumes=volumes, container={"volumeMounts": mounts})
    assert pods.wait_for(name, "terminated")["exitCode"] == 0
    first, field, size = output(api, name).splitlines()
    assert (first, field) == ("from the host", name)
    assert int(size) > 30
    assert (tmp_path / "back").read_text() == "back\n"


def test_a_pod_waits_for_the_secret_of_its_volume(api: Api, pods: Pods) -> None:
    volumes = [{"name": "late", "secret": {"secretName": "late"}}]
    mounts = [{"name": "late", "mountPath": "/late"}]
    name = pods.create(["cat", "/late/a"], volumes=volumes, container={"volumeMounts": mounts})
    text = 'MountVolume.SetUp failed for volume "late" : secret "late" not found'
    wait_for(lambda: text in [event["message"] for event in api.get("events")["items"]])
    assert pods.state(name) == {"waiting": {"reason": "ContainerCreating"}}
    api.create("secrets", secret("late", a="here"))
    pods.wait_for(name, "terminated")
    assert output(api, name) == "here"


@pytest.mark.parametrize(
    ("image", "policy", "reason", "text"),
    [
        ("no-such-image:1", "Never", "ErrImageNeverPull", "is not present with pull policy of Never"),
        ("Capital/../x", "IfNotPresent", "InvalidImageName", "couldn't parse image name"),
        ("127.0.0.1:9/none:1", "IfNotPresent", "ImagePullBackOff", 'Back-off pulling image "127.0.0.1:9/none:1"'),
    ],
)
def test_an_image_that_cannot_be_had(pods: Pods, image: str, policy: str, reason: str, text: str) -> None:
    name = pods.create(container={"image": image, "imagePullPolicy": policy})
    assert text in pods.wait_for(name, "waiting", reason)["message"]
    assert pods.get(name)["status"]["phase"] == "Pending"


def test_what_a_container_needs_and_is_not_there(pods: Pods) -> None:
    container = {"envFrom": [{"secretRef": {"name": "none"}}]}
    name = pods.create(forever(), container=container)
    waiting = pods.wait_for(name, "waiting", "CreateContainerConfigError")
    assert waiting["message"] == 'secret "none" not found'


def test_an_image_of_root_where_root_is_not_to_run(pods: Pods) -> None:
    name = pods.create(forever(), securityContext={"runAsNonRoot": True})
    waiting = pods.wait_for(name, "waiting", "CreateContainerConfigError")
    assert waiting["message"].startswith("container has runAsNonRoot and image will run as root (pod: ")


def test_the_user_and_what_it_may(api: Api, pods: Pods) -> None:
    spec = {
        "securityContext": {
            "runAsUser": 1234,
            "runAsGroup": 55,
            "fsGroup": 77,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "own", "emptyDir": {}}],
    }
    container = {
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "own", "mountPath": "/own"}],
    }
    script = "id; touch /own/file; stat -c %g /own/file; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status"
    text = run_to_end(api, pods, ["sh", "-c", script], container=container, **spec)
    who, group, *rest = text.splitlines()
    assert who == "uid=1234 gid=55 groups=55,77"
    assert group == "77"
    assert {line.split()[0]: line.split()[1] for line in rest} == {
        "CapBnd:": "0000000000000000",
        "NoNewPrivs:": "1",
        "Seccomp:": "2",
    }


def test_a_pod_has_its_grace_and_no_more(api: Api, pods: Pods, fake_cluster: FakeCluster, docker_client: Any) -> None:
    polite = pods.run(["sh", "-c", "trap 'exit 5' TERM; sleep 1000 & wait"], terminationGracePeriodSeconds=60)
    api.call("DELETE", f"pods/{polite}")
    wait_for(lambda: api.call("GET", f"pods/{polite}")[0] == 404, timeout_s=30)
    stubborn = pods.run(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], terminationGracePeriodSeconds=600)
    ids = fake_cluster.order("containers", namespace=api.namespace, pod=stubborn)
    api.call("DELETE", f"pods/{stubborn}")
    api.call("DELETE", f"pods/{stubborn}", gracePeriodSeconds=1)
    wait_for(lambda: api.call("GET", f"pods/{stubborn}")[0] == 404, timeout_s=30)
    assert docker_client.containers(all=True, filters={"id": ids["main"]}) == []


def test_a_pod_past_its_deadline_has_failed(pods: Pods) -> None:
    name = pods.create(forever(), activeDeadlineSeconds=2)
    wait_for(lambda: pods.get(name)["status"]["phase"] == "Failed")
    status = pods.get(name)["status"]
    assert status["reason"] == "DeadlineExceeded"
    assert status["message"] == "Pod was active on the node longer than the specified deadline"
    pods.wait_for(name, "terminated")


def test_a_pod_that_is_evicted_has_failed(pods: Pods, fake_cluster: FakeCluster, namespace: str) -> None:
    name = pods.run(forever())
    fake_cluster.order("evict", namespace=namespace, pod=name)
    wait_for(lambda: pods.get(name)["status"]["phase"] == "Failed")
    assert pods.get(name)["status"]["reason"] == "Evicted"
    pods.wait_for(name, "terminated")


def test_a_pod_that_always_restarts(pods: Pods) -> None:
    name = pods.create(program("sleep 0.2", "exit 1"), restartPolicy="Always")
    wait_for(lambda: pods.get(name)["status"].get("containerStatuses", [{}])[0].get("restartCount") == 1)
    assert pods.get(name)["status"]["phase"] == "Running"
    assert pods.get(name)["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
    assert pods.wait_for(name, "waiting", "CrashLoopBackOff")


def test_what_a_container_says_at_its_end(pods: Pods) -> None:
    name = pods.create(["sh", "-c", "echo the reason > /dev/termination-log; exit 1"])
    assert pods.wait_for(name, "terminated")["message"] == "the reason\n"


def test_containers_of_one_pod_share_an_address_and_init_containers_go_first(api: Api, pods: Pods) -> None:
    volumes = [{"name": "own", "emptyDir": {}}]
    mounts = [{"name": "own", "mountPath": "/own"}]
    first = {
        "name": "first",
        "image": IMAGE,
        "command": ["sh", "-c", "sleep 0.5; echo made > /own/file"],
        "volumeMounts": mounts,
    }
    body = {
        "metadata": {"name": "two"},
        "spec": {
            "restartPolicy": "Never",
            "volumes": volumes,
            "initContainers": [first],
            "containers": [
                {"name": "server", "image": IMAGE, "command": program("serve 8000 hello"), "volumeMounts": mounts},
                {
                    "name": "client",
                    "image": IMAGE,
                    "command": program("sleep 0.5", "fetch 127.0.0.1 8000", "read /own/file"),
                    "volumeMounts": mounts,
                },
            ],
        },
    }
    api.create("pods", body)

    def client_has_ended() -> bool:
        statuses = pods.get("two")["status"].get("containerStatuses") or []
        return any(one["name"] == "client" and "terminated" in one["state"] for one in statuses)

    wait_for(client_has_ended, show=lambda: pods.get("two"))
    assert api.call("GET", "pods/two/log", container="client") == (200, "hello\nmade\n")
    code, status = api.call("GET", "pods/two/log")
    assert code == 400
    assert "a container name must be specified for pod two, choose one of: [server client]" in status["message"]


def test_a_pod_can_call_the_api_server(api: Api, pods: Pods, fake_cluster: FakeCluster, namespace: str) -> None:
    fake_cluster.order(
        "add_user",
        user=f"system:serviceaccount:{namespace}:default",
        namespace=namespace,
        rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    )
    folder, server = (
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "$KUBERNETES_SERVICE_HOST/$KUBERNETES_SERVICE_PORT",
    )
    script = f"cat {folder}/namespace; echo; cat {folder}/token; echo; exec 3<>/dev/tcp/{server} && echo connected"
    name = pods.create(["bash", "-c", script])
    pods.wait_for(name, "terminated")
    found, token, connected = output(api, name).splitlines()
    assert found == namespace
    assert connected == "connected"
    headers = {"Authorization": f"Bearer {token}"}
    assert api.call("GET", "pods", headers=headers)[0] == 200
    assert api.call("GET", "secrets", headers=headers)[0] == 403
    bare = pods.create(["ls", folder], automountServiceAccountToken=False)
    assert pods.wait_for(bare, "terminated")["exitCode"] != 0


@pytest.fixture
def full_node(fake_cluster: FakeCluster) -> Iterator[None]:
    fake_cluster.order("set_full", is_full=True)
    yield
    fake_cluster.order("set_full", is_full=False)


def test_a_pod_waits_for_a_node(fake_cluster: FakeCluster, pods: Pods, full_node: None) -> None:
    name = pods.create(forever())
    wait_for(lambda: pods.get(name)["status"].get("conditions"))
    condition = pods.get(name)["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert condition["message"] == "0/1 nodes are available: 1 node(s) were unschedulable."
    fake_cluster.order("set_full", is_full=False)
    pods.wait_for(name, "running")


def test_a_pod_waits_behind_its_gates(api: Api, pods: Pods) -> None:
    name = pods.create(forever(), schedulingGates=[{"name": "ours/first"}, {"name": "ours/second"}])
    condition = pods.get(name)["status"]["conditions"][0]
    assert (condition["type"], condition["reason"]) == ("PodScheduled", "SchedulingGated")
    pods.run(forever())
    assert "nodeName" not in pods.get(name)["spec"]
    code, status = api.patch(f"pods/{name}", {"spec": {"schedulingGates": [{"name": "other"}]}})
    assert code == 422
    assert "only deletion is allowed, but found new scheduling gate 'other'" in status["message"]
    assert api.patch(f"pods/{name}", {"spec": {"schedulingGates": None}})[0] == 200
    pods.wait_for(name, "running")


def test_a_pod_that_is_too_large_for_the_node(api: Api, pods: Pods) -> None:
    name = pods.create(forever(), container={"resources": {"requests": {"memory": "900Gi", "cpu": "900"}}})
    wait_for(lambda: pods.get(name)["status"].get("conditions"))
    message = pods.get(name)["status"]["conditions"][0]["message"]
    assert message == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    wait_for(lambda: message in [event["message"] for event in api.get("events")["items"]])


def test_a_node_takes_no_more_pods_than_it_has_room_for(pods: Pods, fake_cluster: FakeCluster) -> None:
    fake_cluster.order("set_capacity", pods="0")
    name = pods.create(forever())
    wait_for(lambda: pods.get(name)["status"].get("conditions"))
    fake_cluster.order("set_capacity", pods="1000")
    assert pods.get(name)["status"]["conditions"][0]["message"] == "0/1 nodes are available: 1 Too many pods."
    pods.wait_for(name, "running")


def test_kubectl_makes_waits_and_deletes(kubectl: Kubectl) -> None:
    kubectl("run", "one", f"--image={IMAGE}", "--restart=Never", "--", "sleep", "1000")
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
    assert kubectl("get", "pods", "-o", "name").stdout == "pod/one\n"
    kubectl("delete", "pod", "one", "--grace-period=1")
    assert kubectl("get", "pods", "-o", "name").stdout == ""


def test_kubectl_applies_twice(kubectl: Kubectl) -> None:
    text = '{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "one"}}, "data": {{"a": "{}"}}}}'
    assert "created" in kubectl("apply", "-f", "-", text=text.format(1)).stdout
    assert "configured" in kubectl("apply", "-f", "-", text=text.format(2)).stdout
    assert kubectl("get", "cm", "one", "-o", "jsonpath={.data.a}").stdout == "2"
    kubectl("create", "secret", "generic", "two", "--from-literal=a=b")
    assert kubectl("get", "secret", "two", "-o", "jsonpath={.data.a}").stdout == "Yg=="


def test_kubectl_makes_services_and_quotas_itself(kubectl: Kubectl, api: Api) -> None:
    kubectl("create", "service", "clusterip", "one", "--tcp=80:8000", "--tcp=81:named")
    kubectl("create", "quota", "two", "--hard=pods=5,limits.memory=1Gi")
    ports = api.get("services/one")["spec"]["ports"]
    assert [(port["port"], port["targetPort"]) for port in ports] == [(80, 8000), (81, "named")]
    assert api.get("resourcequotas/two")["spec"]["hard"] == {"pods": "5", "limits.memory": "1Gi"}
    assert "service/one" in kubectl("get", "all", "-o", "name").stdout
