"""Containers, networks and volumes as objects of a cluster, as five versions of Kubernetes take them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import ContainerRequest, PortBinding
from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig, find_program
from pytest_isolate.engine.kubernetes.objects.manifests import (
    Setting,
    build_network,
    build_pod,
    build_program,
    build_run,
    build_volume,
    build_words,
    dropped_limits,
    read_quantity,
    template_machine,
)
from pytest_isolate.engine.kubernetes.objects.object_labels import NAME, annotation, read_labels
from pytest_isolate.engine.kubernetes.objects.pod_template import check_template
from pytest_isolate.engine.kubernetes.objects.refused_settings import RefusedSetting, check_request
from pytest_isolate.errors import EngineError
from pytest_isolate.model.service import DEFAULT_SETTINGS, ContainerSettings, Ulimit

LABELS = {"pytest-isolate.run": "3f2a", "pytest-isolate.owner": '{"pid": 1}', "pytest-isolate.worker": "gw1"}
OWNER = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": "isolate-run-3f2a", "uid": "1-2-3"}
SETTING = Setting(owner=OWNER, program_secret="isolate-first-3f2a")
ROOT_IMAGE = ImageConfig(image_id="sha256:1", entrypoint=("docker-entrypoint.sh",), command=("postgres",))
USER_IMAGE = ImageConfig(image_id="sha256:2", command=("serve",), user="1000")
FULL = ContainerSettings(
    dns=("10.0.0.1",),
    dns_search=("example.com",),
    dns_options=("ndots:2", "rotate"),
    extra_hosts=(("legacy_Db", "10.9.8.7"),),
    group_add=("44",),
    hostname="db",
    labels=(("com.example/team", "web"),),
    read_only=True,
    stdin_open=True,
    stop_signal="SIGINT",
    sysctls=(("net.ipv4.ip_unprivileged_port_start", "0"),),
    tmpfs=(("/run", "size=64m,mode=1777"), ("/var/cache", "")),
    working_dir="/srv",
)


def request(**changes: Any) -> ContainerRequest:
    given: Mapping[str, Any] = {"name": "isolate-3f2a-my_Db", "image": "postgres:16", "labels": LABELS, **changes}
    return ContainerRequest(**given)


def full_request(**changes: Any) -> ContainerRequest:
    return request(
        env={"PASSWORD": "s$(HOME)-sesame"},
        ports=(PortBinding(inner=5432, host_ip="127.0.0.1", host_port=1),),
        volumes={"data": "/var/lib/data"},
        memory_folders={"/srv/copies": 1 << 30},
        folders={"/srv/own": False, "/srv/kept": True},
        memory_bytes=2 << 30,
        shm_bytes=256 << 20,
        cpus=1.5,
        cap_drop=("ALL",),
        cap_add=("CHOWN", "NET_ADMIN"),
        settings=FULL,
        **changes,
    )


def pod(made: ContainerRequest, image: ImageConfig | None = ROOT_IMAGE, setting: Setting = SETTING) -> dict[str, Any]:
    return build_pod(made, find_program(made.entrypoint, made.command, image), image, setting)


def container(made: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["containers"][0]
    return found


OBJECTS = {
    "plain": pod(request()),
    "full": pod(full_request()),
    "user": pod(full_request(user="1000:1000")),
    "unknown image": pod(request(command=["a$b"]), None),
    "no owner": pod(request(), setting=Setting(program_secret="first")),
    "template": pod(
        request(),
        setting=Setting(
            template={"spec": {"tolerations": [{"operator": "Exists"}], "imagePullSecrets": [{"name": "regcred"}]}},
            program_secret="first",
        ),
    ),
    "words": build_words(full_request(), ("a", "b"), OWNER),
    "network": build_network("isolate-3f2a-net", "isolate-net-1", LABELS, OWNER),
    "volume": build_volume("data", LABELS, OWNER),
    "program": build_program("isolate-first-3f2a", b"\x7fELF", LABELS, OWNER),
    "run": build_run("isolate-run-3f2a", LABELS, "2026-11-30T18:00:00.000000Z"),
}


@pytest.mark.parametrize("minor", [33, 34, 35, 36, 37])
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_valid(name: str, minor: int) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="of the test dependencies").validate
    # The field has a default, without which the published schema is not content.
    validate(OBJECTS[name], f"1.{minor}", strict=True)


def test_validation_finds_what_is_wrong() -> None:
    validated = pytest.importorskip("kubernetes_validate", reason="of the test dependencies")
    with pytest.raises(validated.ValidationError):
        validated.validate({**OBJECTS["plain"], "nonsense": 1}, "1.34", strict=True)


# -- the program ---------------------------------------------------------------------------------------------------


def test_the_first_process_holds_the_programs_words() -> None:
    made = pod(request(command=["postgres", "-c", "x=$(HOME)"]))
    name = made["metadata"]["name"]
    assert container(made)["command"] == ["/.isolate/first", "hold", name, "/.isolate/words"]
    words = build_words(request(), ("docker-entrypoint.sh", "-c", "x=$(HOME)"), OWNER)
    assert base64.b64decode(words["data"]["words"]) == b"docker-entrypoint.sh\0-c\0x=$(HOME)\0"
    assert words["metadata"]["name"] == name
    assert "x=$(HOME)" not in str(made)


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, None, ("docker-entrypoint.sh", "postgres")),
        (None, ["psql"], ("docker-entrypoint.sh", "psql")),
        (["sh"], None, ("sh",)),
        (["sh"], ["-c", "true"], ("sh", "-c", "true")),
        ([], ["true"], ("true",)),
    ],
)
def test_entrypoint_and_command_are_put_together_as_docker_does(
    entrypoint: list[str] | None, command: list[str] | None, expected: tuple[str, ...]
) -> None:
    assert find_program(entrypoint, command, ROOT_IMAGE) == expected


def test_an_unknown_image_runs_as_it_is_once_it_may_be_scheduled() -> None:
    assert find_program(None, ["a$b"], None) == ()
    made = pod(request(command=["a$b"]), None)
    assert made["spec"]["schedulingGates"] == [{"name": "pytest-isolate/start"}]
    assert (container(made)["args"], "command" in container(made)) == (["a$$b"], False)
    assert find_program(["sh"], None, None) == ("sh",)


def test_variables_come_from_a_secret_and_are_not_expanded() -> None:
    made, words = pod(full_request()), build_words(full_request(), ("x",), OWNER)
    (variable,) = container(made)["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": made["metadata"]["name"], "key": "env.PASSWORD"}
    assert base64.b64decode(words["data"]["env.PASSWORD"]) == b"s$(HOME)-sesame"
    assert "sesame" not in str(made)


def test_the_image_that_was_looked_at_is_the_one_that_runs() -> None:
    image = ImageConfig(image_id="sha256:1", command=("x",), reference="postgres@sha256:abc")
    assert container(pod(request(), image))["image"] == "postgres@sha256:abc"
    assert container(pod(request()))["image"] == "postgres:16"


# -- names, labels, owners -----------------------------------------------------------------------------------------


def test_labels_and_names_come_back() -> None:
    for made in (pod(request()), OBJECTS["network"], OBJECTS["volume"], OBJECTS["words"]):
        assert read_labels(made) == LABELS
    assert annotation(pod(request()), NAME) == "isolate-3f2a-my_Db"
    assert read_labels(pod(full_request())) == {**LABELS, "com.example/team": "web"}


def test_what_all_workers_share_is_no_workers() -> None:
    all_workers = {k: v for k, v in LABELS.items() if k != "pytest-isolate.worker"}
    assert read_labels(OBJECTS["program"]) == all_workers
    assert read_labels(OBJECTS["run"]) == {**all_workers, "pytest-isolate.owns": "all"}


def test_a_run_owns_all_its_objects_and_blocks_nothing() -> None:
    for name in ("plain", "words", "network", "volume", "program"):
        assert OBJECTS[name]["metadata"]["ownerReferences"] == [OWNER]
    assert "ownerReferences" not in OBJECTS["no owner"]["metadata"]


def test_nothing_is_injected_or_moved() -> None:
    found = pod(request())["metadata"]["annotations"]
    assert found["sidecar.istio.io/inject"] == "false"
    assert found["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert found["karpenter.sh/do-not-disrupt"] == "true"


def test_a_pod_has_no_rights_and_no_long_life() -> None:
    spec = pod(request())["spec"]
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Never", 1)
    assert spec["activeDeadlineSeconds"] == 24 * 3600


# -- Pod Security --------------------------------------------------------------------------------------------------

BASELINE = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
KINDS = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
OURS = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)


def violations(made: Mapping[str, Any], level: str) -> list[str]:
    """What the Pod Security Standards say of a pod (kubernetes.io/docs/concepts/security/pod-security-standards)."""
    spec = made["spec"]
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {volume}" for volume in spec["volumes"] if not KINDS & volume.keys()]
    for each in (*spec.get("initContainers", ()), *spec["containers"]):
        security, caps = each["securityContext"], each["securityContext"]["capabilities"]
        found += ["privileged"] if security.get("privileged") else []
        found += [f"capability {name}" for name in caps["add"] if name not in BASELINE]
        if level == "restricted":
            found += ["allowPrivilegeEscalation"] if security["allowPrivilegeEscalation"] is not False else []
            found += ["drop"] if "ALL" not in caps["drop"] else []
            found += [f"add {name}" for name in caps["add"] if name != "NET_BIND_SERVICE"]
            found += ["runAsNonRoot"] if security.get("runAsNonRoot") is not True else []
            found += ["root"] if security.get("runAsUser") == 0 else []
            found += ["seccomp"] if spec["securityContext"]["seccompProfile"]["type"] != "RuntimeDefault" else []
    return found


def test_a_container_of_root_keeps_to_baseline() -> None:
    made = request(cap_drop=("ALL",), cap_add=OURS)
    assert violations(pod(made), "baseline") == []
    assert "runAsNonRoot" in violations(pod(made), "restricted")


@pytest.mark.parametrize(
    ("changes", "image"),
    [
        ({}, USER_IMAGE),
        ({"user": "999"}, ROOT_IMAGE),
        ({"user": "999:999"}, ROOT_IMAGE),
        ({"settings": ContainerSettings(user="999")}, None),
    ],
)
def test_a_container_of_another_user_keeps_to_restricted(changes: dict[str, Any], image: ImageConfig | None) -> None:
    made = request(entrypoint=["x"], cap_drop=("ALL",), cap_add=OURS, memory_bytes=1 << 30, **changes)
    setting = Setting(program_secret="first", may_be_root=False)
    assert violations(pod(made, image, setting), "restricted") == []


@pytest.mark.parametrize(("user", "image"), [("", USER_IMAGE), ("999:999", ROOT_IMAGE)])
def test_where_it_may_be_the_first_process_is_root_and_becomes_the_user(user: str, image: ImageConfig) -> None:
    made = pod(request(user=user, cap_drop=("ALL",), cap_add=OURS), image)
    assert container(made)["securityContext"]["runAsUser"] == 0
    assert container(made)["env"][0] == {"name": "PYTEST_ISOLATE_USER", "value": user or image.user}
    assert "initContainers" not in made["spec"]
    assert violations(made, "baseline") == []


def test_without_the_rights_to_become_another_user_it_is_that_user_from_the_first() -> None:
    made = pod(request(user="999", cap_drop=("ALL",), cap_add=()), ROOT_IMAGE)
    assert container(made)["securityContext"]["runAsUser"] == 999


@pytest.mark.parametrize("user", ["postgres", "postgres:postgres"])
def test_of_a_user_by_name_kubelet_cannot_tell_that_it_is_not_root(user: str) -> None:
    made = pod(request(), ImageConfig(image_id="sha256:1", command=("x",), user=user))
    assert "runAsNonRoot" not in container(made)["securityContext"]
    assert "runAsUser" not in container(made)["securityContext"]


def test_what_is_asked_for_beyond_is_asked_of_the_cluster() -> None:
    assert violations(pod(full_request()), "baseline") == ["capability NET_ADMIN"]
    privileged = pod(request(settings=ContainerSettings(privileged=True, security_opt=("seccomp=unconfined",))))
    assert violations(privileged, "baseline") == ["privileged"]
    assert privileged["spec"]["securityContext"]["seccompProfile"] == {"type": "Unconfined"}
    assert container(privileged)["securityContext"]["allowPrivilegeEscalation"] is True


def test_a_table_of_hosts_is_one_that_the_containers_user_may_write() -> None:
    assert "initContainers" not in pod(request())["spec"]
    made = pod(request(user="1000"))
    (maker,) = made["spec"]["initContainers"]
    assert maker["command"] == ["/.isolate/first", "touch", "/.isolate-hosts/hosts"]
    assert {"name": "hosts", "mountPath": "/etc/hosts", "subPath": "hosts"} in container(made)["volumeMounts"]


# -- limits and folders --------------------------------------------------------------------------------------------


def test_limits_are_as_declared_and_less_is_requested() -> None:
    found = container(pod(request(memory_bytes=2 << 30, cpus=1.5)))["resources"]
    assert found == {
        "limits": {"memory": "2Gi", "cpu": "1500m"},
        "requests": {"memory": "256Mi", "cpu": "100m"},
    }
    small = container(pod(request(memory_bytes=10 << 20, cpus=0.05)))["resources"]
    assert small["requests"] == small["limits"] == {"memory": "10Mi", "cpu": "50m"}
    assert container(pod(request()))["resources"] == {}


@pytest.mark.parametrize(
    ("held", "lost"),
    [
        ({"memory": "2Gi", "cpu": "1500m"}, set()),
        ({"memory": "2147483648", "cpu": "1.5"}, set()),
        ({"memory": "1Gi", "cpu": "1500m"}, {"memory"}),
        ({"memory": "2Gi", "cpu": "1"}, {"cpus"}),
        ({}, {"memory", "cpus"}),
    ],
)
def test_limits_that_a_limit_range_has_changed_are_found(held: dict[str, str], lost: set[str]) -> None:
    made = {"spec": {"containers": [{"resources": {"limits": held}}]}}
    assert dropped_limits(request(memory_bytes=2 << 30, cpus=1.5), made) == lost
    assert dropped_limits(request(pids=30), made) == {"pids"}


@pytest.mark.parametrize(("text", "value"), [("500m", 0.5), ("2", 2), ("1e3", 1000), ("1Ki", 1024), ("nonsense", 0)])
def test_quantities_are_read(text: str, value: float) -> None:
    assert read_quantity(text) == value


def test_folders_in_memory_have_sizes() -> None:
    made = pod(
        request(memory_folders={"/copies": 1 << 20}, shm_bytes=1 << 21, settings=ContainerSettings(tmpfs=FULL.tmpfs))
    )
    places = {mount["name"]: mount["mountPath"] for mount in container(made)["volumeMounts"]}
    sizes = {places[v["name"]]: v["emptyDir"].get("sizeLimit") for v in made["spec"]["volumes"] if "emptyDir" in v}
    assert sizes == {"/copies": str(1 << 20), "/dev/shm": str(1 << 21), "/run": str(64 << 20), "/var/cache": None}


def test_a_folder_that_lives_as_long_as_its_container_is_part_of_it() -> None:
    folders = {"/srv/kept": True, "/srv/empty": False}
    made = pod(request(volumes={"data": "/var/lib/data"}, folders=folders))
    assert [m["mountPath"] for m in container(made)["volumeMounts"]] == ["/.isolate", "/srv/empty"]
    assert container(made)["command"][4:] == ["/var/lib/data", "/srv/kept"]
    mounted = pod(request(volumes={"data": "/var/lib/data"}, folders=folders, user="1000"), USER_IMAGE)
    assert "emptyDir" in mounted["spec"]["volumes"][-1]
    assert (container(mounted)["command"][4:], len(mounted["spec"]["volumes"])) == ([], 5)
    with_volume = replace(USER_IMAGE, volumes=("/var/lib/data",))
    assert container(pod(request(volumes={"data": "/var/lib/data"}), with_volume))["command"][4:] == ["/var/lib/data"]
    made = pod(request(volumes={"data": "/var/lib/data"}, settings=ContainerSettings(read_only=True)))
    assert [m["mountPath"] for m in container(made)["volumeMounts"]] == ["/.isolate", "/var/lib/data"]


def test_settings_reach_the_pod() -> None:
    made = pod(full_request())
    spec, first = made["spec"], container(made)
    assert (spec["hostname"], spec["dnsPolicy"], first["workingDir"], first["stdin"]) == ("db", "None", "/srv", True)
    assert spec["dnsConfig"]["options"] == [{"name": "ndots", "value": "2"}, {"name": "rotate"}]
    assert spec["securityContext"]["supplementalGroups"] == [44]
    assert spec["securityContext"]["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    assert first["securityContext"]["readOnlyRootFilesystem"] is True
    assert made["metadata"]["annotations"]["pytest-isolate/stop-signal"] == "SIGINT"
    assert made["metadata"]["annotations"]["pytest-isolate/hosts"] == "10.9.8.7 legacy_Db"


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ports": (PortBinding(inner=53, protocol="udp", host_ip="", host_port=0),)}, "port 53/udp"),
        ({"joined": "other"}, "the network of another container"),
        ({"binds": {"/host": "/inside"}}, "/host: pods see nothing of the machine"),
        ({"env": {"A B": "x"}}, "variable A B"),
        ({"user": "postgres"}, "user 'postgres': Kubernetes knows users by number"),
    ],
)
def test_what_a_pod_cannot_have_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedSetting) as caught:
        check_request(request(**changes))
    assert said in str(caught.value)
    assert str(caught.value).startswith("container isolate-3f2a-my_Db cannot be made in a cluster\n  found ")
    assert "\n  do " in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ContainerSettings(binds=(("/in", "/host:ro"),)), "/host:ro"),
        (ContainerSettings(binds=(("/in", "data"),)), "volume data at /in"),
        (ContainerSettings(devices=("/dev/kvm",)), "devices"),
        (ContainerSettings(gpus=("all",)), "gpus"),
        (ContainerSettings(device_cgroup_rules=("c 1:1 r",)), "device_cgroup_rules"),
        (ContainerSettings(ulimits=(Ulimit(name="nofile", soft=1, hard=1),)), "ulimits"),
        (ContainerSettings(domainname="x"), "domainname"),
        (ContainerSettings(hostname="My_Db"), "hostname 'My_Db'"),
        (ContainerSettings(network="host"), "network 'host'"),
        (ContainerSettings(namespaces=(("ipc", "host"),)), "ipc 'host'"),
        (ContainerSettings(user="postgres"), "user 'postgres'"),
        (ContainerSettings(group_add=("video",)), "group video"),
        (ContainerSettings(security_opt=("apparmor=x",)), "security_opt apparmor=x"),
        (ContainerSettings(extra_hosts=(("me", "host-gateway"),)), "host me"),
        (ContainerSettings(tmpfs=(("/run", "uid=5"),)), "tmpfs /run with uid=5"),
    ],
)
def test_settings_that_a_pod_cannot_have_are_refused_by_name(settings: ContainerSettings, said: str) -> None:
    with pytest.raises(RefusedSetting) as caught:
        check_request(request(settings=settings))
    assert said in str(caught.value)


def test_all_that_is_refused_is_named_at_once() -> None:
    with pytest.raises(RefusedSetting) as caught:
        check_request(request(joined="x", settings=ContainerSettings(domainname="x", network="host")))
    assert len(caught.value.found) == 3


@pytest.mark.parametrize("settings", [DEFAULT_SETTINGS, FULL, ContainerSettings(namespaces=(("ipc", "private"),))])
def test_what_a_pod_can_have_is_not_refused(settings: ContainerSettings) -> None:
    check_request(request(settings=settings, user="1000:1000"))


# -- templates -----------------------------------------------------------------------------------------------------

TEMPLATE = {
    "metadata": {"labels": {"team": "web", "pytest-isolate/kind": "theirs"}, "annotations": {"a": "b"}},
    "spec": {
        "serviceAccountName": "tests",
        "imagePullSecrets": [{"name": "regcred"}],
        "tolerations": [{"key": "ci", "operator": "Exists"}],
        "nodeSelector": {"pool": "ci", "kubernetes.io/arch": "arm64"},
        "securityContext": {"fsGroup": 5, "seccompProfile": {"type": "Localhost"}},
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "restartless": None,
        "containers": [
            {
                "name": "service",
                "resources": {"limits": {"cpu": "2", "example.com/gpu": "1"}},
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
    },
}


@pytest.mark.parametrize(
    "template", [TEMPLATE, {"kind": "PodTemplate", "template": TEMPLATE}], ids=["Pod", "PodTemplate"]
)
def test_a_template_adds_to_each_pod_and_ours_counts_more(template: dict[str, Any]) -> None:
    made = pod(request(cpus=1.0, memory_folders={"/m": 1}), setting=Setting(template=template, program_secret="first"))
    spec, metadata, first = made["spec"], made["metadata"], container(made)
    assert (metadata["labels"]["team"], metadata["labels"]["pytest-isolate/kind"]) == ("web", "container")
    assert metadata["annotations"]["a"] == "b"
    assert (spec["serviceAccountName"], spec["imagePullSecrets"]) == ("tests", [{"name": "regcred"}])
    assert spec["tolerations"] == [{"key": "ci", "operator": "Exists"}]
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 5}
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "arm64", "pool": "ci"}
    assert [volume["name"] for volume in spec["volumes"]] == ["first", "folder-0", "scratch"]
    assert first["resources"]["limits"] == {"cpu": "1000m", "example.com/gpu": "1"}
    assert [mount["mountPath"] for mount in first["volumeMounts"]] == ["/.isolate", "/m", "/scratch"]
    assert template_machine(template) == "arm64"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"kind": "Deployment"}, "its kind is 'Deployment', and should be Pod"),
        ({"metadata": {"name": "x"}}, "metadata.name: set by pytest-isolate"),
        ({"spec": {"restartPolicy": "Always", "initContainers": []}}, "spec.initContainers, spec.restartPolicy"),
        ({"spec": {"containers": [{"name": "sidecar"}]}}, "spec.containers has 'sidecar'"),
    ],
)
def test_a_template_that_sets_what_is_not_its_own_is_refused(template: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError) as caught:
        check_template(template, "pod.yaml")
    assert "the pod template pod.yaml cannot be used" in str(caught.value)
    assert said in str(caught.value)


def test_a_template_that_is_right_is_taken() -> None:
    check_template(TEMPLATE, "pod.yaml")
    check_template({"kind": "PodTemplate", "template": TEMPLATE}, "pod.yaml")
