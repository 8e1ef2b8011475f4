"""Kubernetes as an engine beyond the contract, on a fake cluster: rights, policies, owners, names."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from engine.real_registry import open_real_registry
from fakes.programs import IMAGE, program
from waiting import wait_for

from kubernetes.calling import Api
from kubernetes.fake.handle import FakeCluster
from kubernetes.local_images import LocalImages
from pytest_isolate.engine.api import ContainerRequest, Event
from pytest_isolate.engine.kubernetes import deaths
from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.cluster_engine import KubernetesEngine
from pytest_isolate.engine.kubernetes.cluster_remover import ClusterRemover
from pytest_isolate.engine.kubernetes.first_control import FirstControl, ProgramState
from pytest_isolate.engine.kubernetes.kube_config import load_cluster
from pytest_isolate.engine.kubernetes.objects.admission import NoRoomYet
from pytest_isolate.engine.kubernetes.objects.image_config import ImageConfig
from pytest_isolate.engine.kubernetes.objects.role import (
    FEATURES,
    FORWARD,
    LEASES,
    MissingRights,
    ask_permissions,
    build_role,
)
from pytest_isolate.engine.kubernetes.registry.registry_images import RegistryImages
from pytest_isolate.errors import EngineError, ImageNotFound, ObjectNotFound
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.model.service import ContainerSettings

pytestmark = [pytest.mark.engine, pytest.mark.linux]

# Of actions-runner-controller, gha-runner-scale-set, templates/kube_mode_role.yaml.
ARC = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "create", "delete", "update", "patch"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "create", "delete"]},
]


class UnknownImages:
    """A registry that cannot be asked."""

    def find(self, image: str) -> ImageConfig | None:
        return None


class Site:
    """An engine in a namespace of its own, and short ways to make things there."""

    def __init__(self, engine: KubernetesEngine, client: ClusterClient) -> None:
        self.engine = engine
        self.client = client
        self.run = secrets.token_hex(4)
        self.labels = {LABEL_RUN: self.run}

    def request(self, *steps: str, **changes: Any) -> ContainerRequest:
        name = f"isolate-{self.run}-{secrets.token_hex(2)}"
        given = {"name": name, "image": IMAGE, "labels": self.labels, "command": program(*steps), **changes}
        return ContainerRequest(**given)

    def create(self, *steps: str, **changes: Any) -> str:
        return self.engine.create_container(self.request(*steps, **changes))

    def start(self, *steps: str, **changes: Any) -> str:
        container = self.create(*steps, **changes)
        self.engine.start_container(container)
        return container

    def shell(self, container: str, command: str) -> str:
        return self.engine.run_command(container, ["sh", "-c", command]).stdout

    def wait_for_log(self, container: str, text: str) -> str:
        return wait_for(lambda: text in (log := self.engine.read_logs(container)) and log)


Connect = Callable[..., Site]


@pytest.fixture
def connect(fake_cluster: FakeCluster, namespace: str, docker_client: Any) -> Iterator[Connect]:
    """Makes engines: for a user with the rules of a Role, in another namespace, with other facts of images."""
    opened: list[Site] = []

    def make(
        rules: list[Any] | None = None,
        *,
        of: str = "",
        images: Any = None,
        room_within_s: float = 60,
        template: Any = None,
        from_registry: bool = False,
    ) -> Site:
        config = str(fake_cluster.kubeconfig)
        if rules is not None:
            added = fake_cluster.order("add_user", user=f"ci-{namespace}", namespace=of or namespace, rules=rules)
            config = added["kubeconfig"]
        client = ClusterClient(load_cluster({"KUBECONFIG": config}, namespace=of or namespace), {})
        if from_registry:
            images = RegistryImages(client, template)
        images = images or LocalImages(docker_client)
        engine = KubernetesEngine(client, images, template=template, room_within_s=room_within_s)
        opened.append(Site(engine, client))
        return opened[-1]

    yield make
    for site in opened:
        with suppress(EngineError):
            for container in site.engine.list_containers(site.labels):
                site.engine.remove_container(container)
        site.engine.close()


@pytest.fixture
def site(connect: Connect) -> Site:
    return connect()


def archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def left_over(api: Api) -> list[str]:
    """Objects in the namespace, by kind and name."""
    places = {
        "pods": "pods",
        "secrets": "secrets",
        "leases": f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases",
    }
    return [
        f"{kind} {found['metadata']['name']}" for kind, place in places.items() for found in api.get(place)["items"]
    ]


# -- rights --------------------------------------------------------------------------------------------------------


def test_the_default_role_of_arc_is_enough(connect: Connect, api: Api) -> None:
    site = connect(ARC)
    engine = site.engine
    network = engine.create_network(f"isolate-{site.run}-net", site.labels)
    server = site.create("read /srv/motd", "serve 8000 hello", network=network, aliases=("my_Db",))
    engine.copy_into(server, archive("srv/motd", b"copied\n"))
    engine.start_container(server)
    site.wait_for_log(server, "copied")
    client = site.start("sleep 60", network=network)
    assert wait_for(lambda: engine.run_command(client, program("fetch my_Db 8000")).stdout) == "hello\n"
    engine.stop_container(server, 5)
    assert engine.inspect_container(server).exit_code == 0
    (run,) = {*engine.list_networks(site.labels)} - {network}
    assert not run.startswith("lease/")
    for container in (server, client):
        engine.remove_container(container)
    for found in engine.list_networks(site.labels):
        engine.remove_network(found)
    wait_for(lambda: left_over(api) == [], show=lambda: left_over(api))


def test_rights_are_asked_of_the_server(connect: Connect, namespace: str) -> None:
    found = ask_permissions(connect(ARC).client.create, namespace)
    assert FORWARD in found.lacking
    assert LEASES in found.lacking


def test_rights_that_are_missing_are_named(connect: Connect, namespace: str) -> None:
    site = connect([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}])
    with pytest.raises(MissingRights, match=r"pods: create, delete, patch, because"):
        ask_permissions(site.client.create, namespace)
    with pytest.raises(EngineError) as caught:
        site.create("exit 0")
    assert 'cannot create resource "' in str(caught.value)
    assert "`pytest-isolate kubernetes role` prints the Role to apply" in str(caught.value)


def test_the_role_that_is_printed_gives_every_feature(connect: Connect, namespace: str) -> None:
    import yaml

    role = next(iter(yaml.safe_load_all(build_role(namespace))))
    site = connect(role["rules"])
    assert ask_permissions(site.client.create, namespace, FEATURES).lacking == ()
    assert site.engine.inspect_container(site.start("sleep 60")).is_running


# -- policies of the namespace ---------------------------------------------------------------------------------------


@pytest.fixture
def restricted(fake_cluster: FakeCluster) -> Iterator[str]:
    name = f"restricted-{secrets.token_hex(4)}"
    fake_cluster.order("add_namespace", name=name, labels={"pod-security.kubernetes.io/enforce": "restricted"})
    yield name
    admin = Api(fake_cluster.kubeconfig, name)
    admin.call("DELETE", "pods", gracePeriodSeconds=0)
    admin.call("DELETE", f"/api/v1/namespaces/{name}")


def test_a_restricted_namespace_takes_what_is_not_root(connect: Connect, restricted: str) -> None:
    site = connect(of=restricted)
    engine = site.engine
    network = engine.create_network(f"isolate-{site.run}-net", site.labels)
    defaults = {"user": "1000:1000", "cap_drop": ("ALL",), "cap_add": ("CHOWN", "SETUID"), "network": network}
    server = site.start("serve 8000 hello", "say up", aliases=("my_Db",), **defaults)
    client = site.start("sleep 60", aliases=("client",), **defaults)
    assert site.shell(client, "id -u; grep Cap /proc/self/status | cut -f2 | sort -u").split() == ["1000", "0" * 16]
    assert wait_for(lambda: engine.run_command(client, program("fetch my_Db 8000")).stdout) == "hello\n"
    assert "client" in site.shell(server, "cat /etc/hosts")  # it came later
    engine.pause_container(server)
    engine.unpause_container(server)
    engine.stop_container(server, 5)
    assert engine.inspect_container(server).exit_code == 0


def test_a_restricted_namespace_takes_several_at_once(connect: Connect, restricted: str) -> None:
    """All of them are refused as the first one is, before any knows that the namespace takes nothing of root's."""
    site = connect(of=restricted)
    rights = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
    safe = {"user": "1000:1000", "cap_drop": ("ALL",), "cap_add": rights}
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: site.create("sleep 60", **safe), range(8)))
    assert len(set(made)) == 8


def test_a_restricted_namespace_refuses_an_image_of_root(connect: Connect, restricted: str) -> None:
    site = connect(of=restricted)
    with pytest.raises(EngineError) as caught:
        site.create("exit 0", cap_drop=("ALL",), cap_add=("CHOWN",))
    text = str(caught.value)
    assert f"was refused in namespace {restricted!r}: it is against its Pod Security level 'restricted'" in text
    assert 'violates PodSecurity "restricted' in text
    assert "give it a user that is not root: user='1000:1000'" in text
    assert site.engine.list_containers(site.labels) == []


def quota(api: Api, **hard: str) -> None:
    api.create("resourcequotas", {"metadata": {"name": "ci"}, "spec": {"hard": hard}})


def test_a_quota_that_is_full_is_told(connect: Connect, api: Api) -> None:
    site = connect(room_within_s=0)
    quota(api, pods="1")
    site.create("sleep 60")
    with pytest.raises(NoRoomYet) as caught:
        site.create("sleep 60")
    assert "its quota is full" in str(caught.value)
    assert "exceeded quota: ci" in str(caught.value)
    assert "have the quota raised" in str(caught.value)


def test_room_in_a_quota_is_waited_for(connect: Connect, api: Api) -> None:
    site = connect()
    quota(api, pods="1")
    first = site.create("sleep 60")
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(site.create("sleep 60")))
    thread.start()
    wait_for(lambda: len(api.get("secrets")["items"]) == 3)  # its words are there, its pod is not
    site.engine.remove_container(first)
    thread.join()
    assert site.engine.list_containers(site.labels) == made


def test_a_limit_range_is_told(connect: Connect, api: Api) -> None:
    limits = [{"type": "Container", "max": {"memory": "1Gi"}}]
    api.create("limitranges", {"metadata": {"name": "ci"}, "spec": {"limits": limits}})
    with pytest.raises(EngineError) as caught:
        connect().create("exit 0", memory_bytes=2 << 30)
    assert "it is against its LimitRange" in str(caught.value)
    assert "maximum memory usage per Container is 1Gi, but limit is 2Gi" in str(caught.value)


def test_a_node_that_never_comes_is_told_and_one_that_comes_is_waited_for(
    connect: Connect, fake_cluster: FakeCluster
) -> None:
    hasty, patient = connect(room_within_s=1), connect()
    fake_cluster.order("set_full", is_full=True)
    try:
        container = hasty.create("sleep 60")
        with pytest.raises(NoRoomYet) as caught:
            hasty.engine.start_container(container)
        waits = patient.create("sleep 60")
        thread = threading.Thread(target=lambda: patient.engine.start_container(waits))
        thread.start()
    finally:
        fake_cluster.order("set_full", is_full=False)
    thread.join()
    assert patient.engine.inspect_container(waits).is_running
    assert "has no node: none of the cluster's can take it" in str(caught.value)
    assert "0/1 nodes are available" in str(caught.value)


def test_an_image_that_is_not_there_is_told(connect: Connect) -> None:
    site = connect(images=UnknownImages())
    container = site.create(image="localhost:1/nothing:here", entrypoint=["sh"], command=["-c", "true"])
    with pytest.raises(EngineError) as caught:
        site.engine.start_container(container)
    assert isinstance(caught.value, ImageNotFound)
    assert "image localhost:1/nothing:here could not be pulled" in str(caught.value)


# -- an image of which nothing is known ------------------------------------------------------------------------------


def test_an_unknown_image_runs_as_it_is_and_what_needs_our_first_process_is_refused(connect: Connect) -> None:
    site = connect(images=UnknownImages())
    container = site.create(command=program("getenv WORD", "exit 3"), env={"WORD": "given"})
    assert not site.engine.inspect_container(container).is_running
    for call in (
        lambda: site.engine.stop_container(container, 1),
        lambda: site.engine.pause_container(container),
        lambda: site.engine.copy_into(container, b""),
    ):
        with pytest.raises(EngineError, match="ENTRYPOINT and CMD are not known"):
            call()
    site.engine.start_container(container)
    state = wait_for(lambda: (s := site.engine.inspect_container(container)).exit_code is not None and s)
    assert state.exit_code == 3
    assert site.engine.read_logs(container) == "given\n"


# -- owners ----------------------------------------------------------------------------------------------------------


def test_a_run_is_one_object_that_owns_all_others(connect: Connect, api: Api) -> None:
    mine, bystander = connect(), connect()
    for site in (mine, bystander):
        network = site.engine.create_network(f"isolate-{site.run}-net", site.labels)
        site.engine.create_volume(f"data-{site.run}", site.labels)
        site.start("sleep 60", network=network, volumes={f"data-{site.run}": "/data"})
    before = left_over(api)
    (lease,) = [name for name in mine.engine.list_networks(mine.labels) if name.startswith("lease/")]
    mine.engine.remove_network(lease)
    wait_for(lambda: len(left_over(api)) == len(before) / 2, show=lambda: left_over(api))
    (theirs,) = bystander.engine.list_containers(bystander.labels)
    assert bystander.engine.inspect_container(theirs).is_running


def test_clean_up_by_labels_of_the_run_leaves_nothing(connect: Connect, api: Api) -> None:
    site = connect()
    network = site.engine.create_network(f"isolate-{site.run}-net", site.labels)
    site.engine.create_volume("data", site.labels)
    site.start("sleep 60", network=network, volumes={"data": "/data"}, env={"A": "b"})
    remover = ClusterRemover(site.client)
    remover.check(site.labels)
    for container in remover.list_containers(site.labels):
        remover.remove_container(container)
    for volume in remover.list_volumes(site.labels):
        remover.remove_volume(volume)
    for found in remover.list_networks(site.labels):
        remover.remove_network(found)
    wait_for(lambda: left_over(api) == [], show=lambda: left_over(api))


def test_processes_of_one_run_share_its_objects_and_workers_clean_up_their_own_only(connect: Connect, api: Api) -> None:
    one, other = connect(), connect()
    other.labels = {LABEL_RUN: one.run, "pytest-isolate.worker": "gw1"}
    first, second = one.start("sleep 60"), other.start("sleep 60")
    assert len([name for name in left_over(api) if name.startswith("leases")]) == 1
    assert len([name for name in left_over(api) if "isolate-first" in name]) == 1
    assert other.engine.list_containers(other.labels) == [second]
    assert sorted(one.engine.list_containers({LABEL_RUN: one.run})) == sorted([first, second])
    assert other.engine.list_networks(other.labels) == []


def test_a_name_is_free_again_when_its_container_is_removed(site: Site) -> None:
    request = site.request("exit 0")
    site.engine.remove_container(site.engine.create_container(request))
    assert site.engine.list_containers(site.labels) == []
    assert site.engine.create_container(request)


# -- names -----------------------------------------------------------------------------------------------------------


def test_names_come_and_go_while_a_container_runs(site: Site) -> None:
    engine = site.engine
    home, other = (engine.create_network(f"isolate-{site.run}-{n}", site.labels) for n in ("home", "other"))
    client = site.start("sleep 60", network=home, aliases=("client",))
    server = site.start("serve 8000 hello", network=home, aliases=("My_Db", "db"))
    hosts = site.shell(client, "cat /etc/hosts")
    assert "\tMy_Db db\n" in hosts
    assert site.shell(server, "getent hosts client").split()[1:] == ["client"]
    engine.attach(other, server, ["elsewhere"])
    assert "elsewhere" not in site.shell(client, "cat /etc/hosts")
    engine.attach(other, client, [])
    assert "elsewhere" in site.shell(client, "cat /etc/hosts")
    engine.remove_network(other)
    assert "elsewhere" not in site.shell(client, "cat /etc/hosts")
    assert "My_Db" in site.shell(client, "cat /etc/hosts")
    engine.remove_container(server)


def test_containers_that_start_at_once_know_each_other(site: Site) -> None:
    network = site.engine.create_network(f"isolate-{site.run}-net", site.labels)
    names = [f"service_{number}" for number in range(6)]
    started: dict[str, str] = {}

    def start(name: str) -> None:
        started[name] = site.start("sleep 60", network=network, aliases=(name,))

    threads = [threading.Thread(target=start, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for container in started.values():
        hosts = site.shell(container, "cat /etc/hosts")
        assert [name for name in names if name not in hosts] == [], hosts


def test_a_neighbour_that_comes_up_during_a_start_is_known_after_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = site.engine.create_network(f"isolate-{site.run}-net", site.labels)
    first = site.create("sleep 60", network=network, aliases=("first",))
    begun, go_on, start = threading.Event(), threading.Event(), FirstControl.start

    def start_slowly(control: FirstControl, pod: str, hosts: str) -> ProgramState:
        if pod == first:
            begun.set()
            assert go_on.wait(60)
        return start(control, pod, hosts)

    monkeypatch.setattr(FirstControl, "start", start_slowly)
    starts = [threading.Thread(target=site.engine.start_container, args=(first,))]
    starts[0].start()
    assert begun.wait(60)  # its table is written, without the second
    second = site.create("sleep 60", network=network, aliases=("second",))
    starts.append(threading.Thread(target=site.engine.start_container, args=(second,)))
    starts[1].start()
    wait_for(lambda: site.engine.inspect_container(second).is_running)
    go_on.set()
    for thread in starts:
        thread.join()
    for container, name in ((first, "second"), (second, "first")):
        assert name in site.shell(container, "cat /etc/hosts")


def test_a_container_knows_itself_and_what_it_was_declared_to_know(site: Site) -> None:
    settings = ContainerSettings(hostname="db-1", extra_hosts=(("Legacy_Host", "10.9.8.7"),))
    container = site.start("sleep 60", settings=settings)
    found = site.shell(container, "getent hosts $(hostname) Legacy_Host localhost")
    assert found.splitlines()[0].split()[1] == "db-1"
    assert ["10.9.8.7", "Legacy_Host"] in [line.split() for line in found.splitlines()]


# -- programs --------------------------------------------------------------------------------------------------------


def test_words_and_variables_come_as_they_are(site: Site) -> None:
    word = "$(HOME) $$ 'quoted' \"x\"\nline two\ttab ü €"
    variables = {"WORD": word, "EMPTY": "", "lower-case.dotted": "1"}
    script = 'print "$_|" for @ARGV, $ENV{WORD}, $ENV{EMPTY}, $ENV{"lower-case.dotted"}; print "\\n"'
    container = site.create(command=["perl", "-e", script, word, ""], env=variables)
    site.engine.start_container(container)
    wait_for(lambda: site.engine.inspect_container(container).exit_code is not None)
    assert site.engine.read_logs(container) == f"{word}||{word}||1|\n"


def test_secrets_of_a_program_are_not_in_its_pod(site: Site, api: Api) -> None:
    container = site.start("sleep 60", env={"PASSWORD": "sesame-of-the-test"})
    assert "sesame-of-the-test" not in str(api.get(f"pods/{container}"))
    assert site.engine.run_command(container, ["printenv", "PASSWORD"]).stdout == "sesame-of-the-test\n"


def test_the_images_or_declared_signal_asks_to_stop(site: Site) -> None:
    script = "trap 'exit 7' INT; trap 'exit 8' TERM; echo up; while :; do sleep 0.05; done"
    for settings, code in ((ContainerSettings(stop_signal="SIGINT"), 7), (ContainerSettings(), 8)):
        container = site.create(command=["sh", "-c", script], settings=settings)
        site.engine.start_container(container)
        site.wait_for_log(container, "up")
        site.engine.stop_container(container, 20)
        assert site.engine.inspect_container(container).exit_code == code


def test_a_large_archive_reaches_a_container_that_is_not_started(site: Site) -> None:
    container = site.create("sleep 60")
    content = os.urandom(1 << 20) * 20
    whole = archive("srv/large", content)
    site.engine.copy_into(container, (whole[i : i + 100_000] for i in range(0, len(whole), 100_000)))
    site.engine.start_container(container)
    expected = hashlib.sha256(content).hexdigest()
    assert site.shell(container, "sha256sum /srv/large").split()[0] == expected


def test_a_folder_in_memory_and_limits_are_there(site: Site) -> None:
    container = site.start("sleep 60", memory_folders={"/fast": 16 << 20}, memory_bytes=64 << 20, shm_bytes=8 << 20)
    assert [
        line.split()[0] for line in site.shell(container, "df --output=fstype /fast /dev/shm").splitlines()[1:]
    ] == [
        "tmpfs",
        "tmpfs",
    ]


def test_a_file_system_that_is_read_only_has_folders_that_are_not(site: Site) -> None:
    settings = ContainerSettings(read_only=True, tmpfs=(("/run", "size=4m"),))
    container = site.start("sleep 60", volumes={f"data-{site.run}": "/data"}, settings=settings)
    told = site.shell(container, "for f in /srv /run /data; do touch $f/x 2>/dev/null && echo $f; done")
    assert told.split() == ["/run", "/data"]


def test_a_volume_is_that_of_one_container_and_outlives_stops(site: Site) -> None:
    site.engine.create_volume("data", site.labels)
    owner = site.start("write /data/file kept", "sleep 60", volumes={"data": "/data"}, folders={"/data": True})
    wait_for(lambda: site.shell(owner, "cat /data/file") == "kept\n")
    site.engine.kill_container(owner)
    site.engine.start_container(owner)
    assert site.shell(owner, "cat /data/file") == "kept\n"
    with pytest.raises(EngineError) as caught:
        site.create("exit 0", volumes={"data": "/data"})
    assert "in a cluster a volume lives with one container" in str(caught.value)
    with pytest.raises(EngineError, match="in use"):
        site.engine.remove_volume("data")
    site.engine.remove_container(owner)
    site.engine.remove_volume("data")
    assert site.engine.list_volumes(site.labels) == []


def test_a_volume_whose_container_is_gone_is_given_to_the_next(site: Site) -> None:
    """As when a service is started anew: its data went with its container."""
    site.engine.create_volume("data", site.labels)
    site.engine.remove_container(site.start("sleep 60", volumes={"data": "/data"}))
    second = site.start("sleep 60", volumes={"data": "/data"})
    with pytest.raises(EngineError, match="a volume lives with one container"):
        site.create("exit 0", volumes={"data": "/data"})
    assert site.engine.inspect_container(second).is_running


# -- deaths ----------------------------------------------------------------------------------------------------------


def test_deaths_of_what_ran_before_and_of_what_starts_again_are_told(site: Site) -> None:
    container = site.start("sleep 60")
    ended = site.start("exit 1")
    wait_for(lambda: site.engine.inspect_container(ended).exit_code == 1)
    with closing(site.engine.watch(site.labels)) as stream:
        events = iter(stream)
        wait_for(lambda: any(stream._lines.values()))  # it listens
        site.engine.kill_container(container)
        assert next(events) == Event(container_id=container, exit_code=137)
        site.engine.start_container(container)
        site.engine.stop_container(container, 10)
        assert next(events) == Event(container_id=container, exit_code=0)


@pytest.mark.parametrize("way", ["removed", "first process killed"])
def test_a_death_of_the_pod_is_a_death(site: Site, fake_cluster: FakeCluster, docker_client: Any, way: str) -> None:
    container = site.create("sleep 60")
    with closing(site.engine.watch(site.labels)) as stream:
        site.engine.start_container(container)
        if way == "removed":
            site.engine.remove_container(container)
        else:
            found = fake_cluster.order("containers", namespace=site.client.namespace, pod=container)
            docker_client.kill(found["service"])
        assert next(iter(stream)) == Event(container_id=container, exit_code=137)
    if way != "removed":
        with pytest.raises(EngineError):
            site.engine.start_container(container)


def test_an_end_is_told_once_however_often_a_start_is_asked_for(site: Site) -> None:
    with closing(site.engine.watch(site.labels)) as stream:
        container = site.start("sleep 60")
        site.engine.start_container(container)
        site.engine.kill_container(container)
        events = iter(stream)
        assert next(events) == Event(container_id=container, exit_code=137)
        other = site.start("exit 5")
        assert next(events) == Event(container_id=other, exit_code=5)


def test_deaths_of_more_containers_than_have_a_line_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deaths, "MOST_LINES", 1)
    with closing(site.engine.watch(site.labels)) as stream:
        containers = [site.start("sleep 60") for _ in range(3)]
        wait_for(lambda: any(stream._lines.values()))
        assert len(stream._lines) == 1
        events = iter(stream)
        # The one with the line comes last: the others were asked.
        by_line = sorted(containers, key=lambda container: container in stream._lines)
        for container in by_line:
            site.engine.kill_container(container)
            assert next(events) == Event(container_id=container, exit_code=137)
        site.engine.start_container(by_line[0])
        wait_for(lambda: any(stream._lines.values()))
        assert list(stream._lines) == by_line[:1]


def test_a_pod_on_its_way_out_is_gone(site: Site, api: Api) -> None:
    container = site.start("stubborn", "say up", "sleep 60", "sleep 60")
    site.wait_for_log(container, "up")
    api.call("DELETE", f"pods/{container}", gracePeriodSeconds=30)
    assert site.engine.list_containers(site.labels) == []
    for call in (site.engine.start_container, site.engine.inspect_container):
        with pytest.raises(ObjectNotFound, match="is being removed"):
            call(container)
    site.engine.remove_container(container)
    wait_for(lambda: api.get("pods")["items"] == [])


def test_a_server_that_restarts_is_waited_for(site: Site, fake_cluster: FakeCluster) -> None:
    container = site.start("sleep 60")
    with closing(site.engine.watch(site.labels)) as stream:
        wait_for(lambda: any(stream._lines.values()))
        fake_cluster.order("stop")
        fake_cluster.order("start")
        wait_for(lambda: site.engine.inspect_container(container).is_running)
        site.engine.kill_container(container)
        assert next(iter(stream)) == Event(container_id=container, exit_code=137)


@pytest.mark.parametrize("minor", [29, 35])
def test_older_and_newer_servers_do(site: Site, fake_cluster: FakeCluster, minor: int) -> None:
    """Before 1.30 an input of a command has no end; from 1.35 on a command takes one more right."""
    fake_cluster.order("set_version", major=1, minor=minor)
    try:
        container = site.create("read /srv/motd", "sleep 60")
        with pytest.raises(EngineError, match="it is no tar archive"):
            site.engine.copy_into(container, b"not an archive")
        site.engine.copy_into(container, archive("srv/motd", b"copied\n" * 50_000))
        site.engine.start_container(container)
        site.wait_for_log(container, "copied")
        assert site.shell(container, "wc -l < /srv/motd") == "50000\n"
        session = site.engine.open_session(container, ["cat"], {})
        session.send(b"hello\n")
        assert session.receive(30) == (1, b"hello\n")
        session.close()
        site.engine.stop_container(container, 10)
        assert site.engine.inspect_container(container).exit_code == 0
    finally:
        fake_cluster.order("set_version", major=1, minor=34)


def test_a_container_of_a_pod_that_is_gone_is_not_found(site: Site) -> None:
    container = site.start("sleep 60")
    site.engine.remove_container(container)
    for call in (site.engine.start_container, site.engine.pause_container, site.engine.read_usage):
        with pytest.raises(ObjectNotFound):
            call(container)


def test_a_template_of_the_users_is_in_each_pod(connect: Connect, api: Api) -> None:
    site = connect(template={"metadata": {"labels": {"team": "web"}}, "spec": {"priorityClassName": ""}})
    assert api.get(f"pods/{site.create('exit 0')}")["metadata"]["labels"]["team"] == "web"


def test_an_image_that_only_nodes_have_runs_where_its_words_are_declared(connect: Connect) -> None:
    class NoRegistryHasIt:
        def find(self, image: str) -> ImageConfig | None:
            raise ImageNotFound(f"image {image} is not there", found="manifest unknown", do="check name and tag")

    site = connect(images=NoRegistryHasIt())
    with pytest.raises(ObjectNotFound) as caught:
        site.create("exit 3")
    assert "manifest unknown" in str(caught.value)
    assert "or, where it was loaded into the nodes, declare entrypoint= and command= in full" in str(caught.value)
    container = site.create(entrypoint=program("exit 3"), command=[])
    site.engine.start_container(container)
    wait_for(lambda: site.engine.inspect_container(container).exit_code == 3)


def test_nodes_without_a_first_process_are_told(connect: Connect) -> None:
    site = connect(template={"spec": {"nodeSelector": {"kubernetes.io/arch": "s390x"}}})
    with pytest.raises(EngineError) as caught:
        site.create("exit 0")
    assert str(caught.value) == (
        "pods cannot be held on nodes of the kind s390x\n"
        "  found  there is a first process for amd64, arm64\n"
        "  do     name such nodes as kubernetes.io/arch in nodeSelector of --isolate-pod-template"
    )


def test_a_start_asks_the_server_a_bounded_number_of_times(site: Site, fake_cluster: FakeCluster) -> None:
    """Figures of docs/kubernetes.md: what a container costs the API server, alone and with two neighbours."""
    network = site.engine.create_network(f"isolate-{site.run}-net", site.labels)

    def asked() -> dict[str, int]:
        return dict(fake_cluster.order("counts")["requests"])

    for neighbours in (0, 1, 2):
        container = site.create("sleep 60", network=network, aliases=(f"service-{neighbours}",))
        site.engine.find_path(container, "/")  # it is up
        fake_cluster.order("reset_counts")
        site.engine.start_container(container)
        found = asked()
        assert found["get pods/exec"] == 1 + neighbours, found
        assert (found["get pods"], found["list pods"]) == (1, 3 + 2 * neighbours), found


def test_what_an_image_runs_is_read_from_its_registry_with_the_pods_pull_secrets(
    connect: Connect, api: Api, docker_client: Any, tmp_path: Path
) -> None:
    build = f'FROM {IMAGE}\nENTRYPOINT ["sh", "-c"]\nCMD ["echo said by its command; sleep 60"]\nSTOPSIGNAL SIGKILL\n'
    local = f"isolate-registry-{secrets.token_hex(4)}:1"
    list(docker_client.build(fileobj=io.BytesIO(build.encode()), tag=local, rm=True, decode=True))
    try:
        with open_real_registry(tmp_path, docker_client) as registry:
            name = registry.push(f"private-{secrets.token_hex(4)}:1", local)
            auths = json.dumps({"auths": {registry.address: registry.login()}}).encode()
            data = {".dockerconfigjson": base64.b64encode(auths).decode()}
            kind = "kubernetes.io/dockerconfigjson"
            api.create("secrets", {"metadata": {"name": "regcred"}, "type": kind, "data": data})
            template = {"spec": {"imagePullSecrets": [{"name": "regcred"}]}}
            site = connect(template=template, from_registry=True)
            container = site.start(image=name, command=None)
            site.wait_for_log(container, "said by its command")
            assert "@sha256:" in api.get(f"pods/{container}")["spec"]["containers"][0]["image"]
            site.engine.stop_container(container, 30)
            assert site.engine.inspect_container(container).exit_code == 137
            found = site.engine.find_image(name)
            assert found is not None
            assert found.image_id.startswith("sha256:")
            assert site.engine.find_image(f"{registry.address}/nothing:here") is None
            site.engine.remove_container(container)
            registry.forget(name)
    finally:
        docker_client.remove_image(local, force=True)
