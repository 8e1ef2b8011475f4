"""The key `container`: what is handed on to the engine, and what is refused before it."""

from __future__ import annotations

import pytest

from pytest_isolate.declarations.container import CONTAINER_KEYS, parse_container
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.docker.wire import container_body
from pytest_isolate.model.probes import Command, Ended
from pytest_isolate.model.service import ContainerSettings, Ulimit
from unit.builders import declare, load_all, load_one, only_problem, raw, sid


@pytest.mark.parametrize(
    ("key", "value", "parsed"),
    [
        ("aliases", ["db.example", "db", "db"], ("db.example", "db")),
        ("binds", {"/s": "/var/run/docker.sock:ro"}, (("/s", "/var/run/docker.sock:ro"),)),
        ("cap_drop", ["cap_chown"], ("CHOWN",)),
        ("device_cgroup_rules", ["c 1:3 mr"], ("c 1:3 mr",)),
        ("devices", ["/dev/fuse"], ("/dev/fuse",)),
        ("dns", ["192.0.2.1"], ("192.0.2.1",)),
        ("dns_options", ["ndots:1"], ("ndots:1",)),
        ("dns_search", ["example"], ("example",)),
        ("domainname", "example", "example"),
        (
            "extra_hosts",
            {"b": "192.0.2.1", "a": ["192.0.2.2", "::1"]},
            (("a", "192.0.2.2"), ("a", "::1"), ("b", "192.0.2.1")),
        ),
        ("gpus", ["all"], ("all",)),
        ("group_add", ["mail", 1000], ("mail", "1000")),
        ("hostname", "web", "web"),
        ("init", True, True),
        ("labels", {"a": 1}, (("a", "1"),)),
        ("namespaces", {"pid": "host", "ipc": "service:db"}, (("ipc", "service:db"), ("pid", "host"))),
        ("network", "service:db", "service:db"),
        ("network", "host", "host"),
        ("privileged", True, True),
        ("read_only", True, True),
        ("security_opt", ["seccomp=unconfined"], ("seccomp=unconfined",)),
        ("stdin_open", True, True),
        ("stop_signal", "SIGINT", "SIGINT"),
        ("sysctls", {"net.core.somaxconn": 1024}, (("net.core.somaxconn", "1024"),)),
        ("tmpfs", ["/run"], (("/run", ""),)),
        ("tmpfs", {"/run": "size=1m"}, (("/run", "size=1m"),)),
        ("ulimits", {"nofile": 9}, (Ulimit(name="nofile", soft=9, hard=9),)),
        ("ulimits", {"core": {"soft": 0, "hard": -1}}, (Ulimit(name="core", soft=0, hard=-1),)),
        ("user", 1000, "1000"),
        ("user", "1000:mail", "1000:mail"),
        ("working_dir", "/srv", "/srv"),
    ],
)
def test_a_good_setting_is_taken(key: str, value: object, parsed: object) -> None:
    assert getattr(parse_container({key: value}), key) == parsed


def test_every_setting_can_be_taken_out_again() -> None:
    assert parse_container(dict.fromkeys(CONTAINER_KEYS)) == ContainerSettings()


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        ({"hostnam": "x"}, "", "unknown key 'hostnam', did you mean 'hostname'?"),
        ({"hostname": "a b"}, "hostname", "'a b' is not a host name"),
        ({"tmpfs": ["run"]}, "tmpfs", "'run' is not a folder inside the container"),
        ({"tmpfs": {"/run": 1}}, "tmpfs./run", "1 is not a text"),
        ({"ulimits": {"nofile": "many"}}, "ulimits.nofile", "'many' is not a limit"),
        ({"ulimits": {"nofile": {"soft": 1}}}, "ulimits.nofile", "{'soft': 1} is not a limit"),
        (
            {"labels": {"pytest-isolate.run": "x"}},
            "labels.pytest-isolate.run",
            "the label 'pytest-isolate.run' is",
        ),
        ({"sysctls": {"a": None}}, "sysctls.a", "None is not a text"),
        ({"group_add": "mail"}, "group_add", "'mail' is not a list of groups"),
        ({"binds": {"s": "/s"}}, "binds.s", "'s' is not an absolute path"),
        ({"namespaces": {"mnt": "host"}}, "namespaces.mnt", "'mnt' is not a namespace"),
        ({"network": "bridge"}, "network", "'bridge' is not a network"),
        ({"cap_drop": ["FLY"]}, "cap_drop", "'FLY' is not a capability"),
    ],
)
def test_a_wrong_setting_is_told(value: object, key: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_container(value)
    assert caught.value.key == key
    assert caught.value.reason.startswith(reason)


def test_settings_are_changed_one_by_one() -> None:
    first = raw(container={"user": "app", "hostname": "a"})
    layered = raw(first, image="image:1", container={"user": None, "init": True})

    spec = load_all(declare(svc=layered)).services[sid("svc")]
    assert spec.container == ContainerSettings(hostname="a", init=True)


def test_settings_reach_the_engine() -> None:
    settings = ContainerSettings(
        hostname="web",
        user="app",
        working_dir="/srv",
        init=True,
        tmpfs=(("/run", "size=1m"),),
        extra_hosts=(("old", "192.0.2.7"),),
        ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
        labels=(("pytest-isolate.run", "other"), ("a", "b")),
    )
    body = container_body(ContainerRequest(name="x", image="x", labels={"pytest-isolate.run": "r"}, settings=settings))
    host = body["HostConfig"]

    assert (body["Hostname"], body["User"], body["WorkingDir"]) == ("web", "app", "/srv")
    assert body["Labels"] == {"pytest-isolate.run": "r", "a": "b"}
    assert (host["Init"], host["Tmpfs"], host["ExtraHosts"]) == (True, {"/run": "size=1m"}, ["old:192.0.2.7"])
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1, "Hard": 2}]


def test_parts_of_the_host_reach_the_engine() -> None:
    settings = ContainerSettings(
        binds=(("/s", "/var/run/docker.sock:ro"),),
        device_cgroup_rules=("c 1:3 mr",),
        devices=("/dev/a", "/dev/a:/dev/b", "/dev/a:/dev/b:r"),
        gpus=("all", "2", "driver=nvidia,device=0+1,capabilities=gpu+utility"),
        namespaces=(("ipc", "shareable"), ("pid", "host"), ("userns", "host"), ("uts", "host"), ("cgroup", "private")),
        network="host",
        privileged=True,
        security_opt=("label=disable",),
    )
    request = ContainerRequest(name="x", image="x", labels={}, volumes={"v": "/v"}, settings=settings)
    host = container_body(request)["HostConfig"]

    assert host["Binds"] == ["v:/v"]
    bind = {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/s", "ReadOnly": True}
    assert host["Mounts"] == [bind]
    assert host["Devices"] == [
        {"PathOnHost": "/dev/a", "PathInContainer": inside, "CgroupPermissions": rights}
        for inside, rights in (("/dev/a", "rwm"), ("/dev/b", "rwm"), ("/dev/b", "r"))
    ]
    assert [(r["Driver"], r["Count"], r["DeviceIDs"], r["Capabilities"]) for r in host["DeviceRequests"]] == [
        ("", -1, [], [["gpu"]]),
        ("", 2, [], [["gpu"]]),
        ("nvidia", 0, ["0", "1"], [["gpu", "utility"]]),
    ]
    modes = ("IpcMode", "PidMode", "UsernsMode", "UTSMode", "CgroupnsMode", "NetworkMode")
    assert [host[mode] for mode in modes] == ["shareable", "host", "host", "host", "private", "host"]
    assert (host["Privileged"], host["DeviceCgroupRules"]) == (True, ["c 1:3 mr"])
    assert host["SecurityOpt"] == ["no-new-privileges", "label=disable"]


def test_what_is_not_set_is_left_to_the_engine() -> None:
    body = container_body(ContainerRequest(name="x", image="x", labels={}))
    assert not {"Hostname", "User", "WorkingDir", "OpenStdin"} & body.keys()
    assert not {"Tmpfs", "Ulimits", "Init", "Dns", "Devices", "Privileged", "PidMode"} & body["HostConfig"].keys()


def test_a_read_only_root_takes_no_file_right_below_it() -> None:
    problem = only_problem(declare(svc=raw(files={"/a": "b", "/etc/b": "b"}, container={"read_only": True})))
    assert (problem.subject, problem.reason) == (
        "svc.files./a",
        "a container with a root that is read-only can have no file of its own right below it",
    )


def test_what_ends_is_asked_nothing_else() -> None:
    assert load_one(ready=Ended()).ready == (Ended(),)
    assert load_one(ready={"ended": True}).ready == (Ended(),)
    problem = only_problem(declare(svc=raw(ready=[Ended(), Command(argv=("true",))])))
    assert problem.reason == "what has ended can be asked nothing more"


def test_a_volume_may_be_at_several_places() -> None:
    assert load_one(volumes={"a": ["/b", "/a:ro"]}).volumes == (("a", "/a:ro"), ("a", "/b"))


def test_a_volume_may_be_read_only() -> None:
    assert load_one(volumes={"a": "/a:ro", "b": "/b"}).volumes == (("a", "/a:ro"), ("b", "/b"))
    assert only_problem(declare(svc=raw(volumes={"a": ":ro"}))).reason == "'' is not a path inside the container"
