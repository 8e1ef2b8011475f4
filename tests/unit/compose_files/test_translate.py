"""What each key of a Compose file becomes, or why it is refused. The keys are those of the public specification."""

from __future__ import annotations

from functools import reduce

import pytest

from pytest_isolate.compose_files.translate import _BY_KEY, _WHOLE, NOT_TAKEN, NOTED, REFUSED
from pytest_isolate.model.probes import Command, Ended, Ports, Tcp
from pytest_isolate.model.service import UNLIMITED, Build, BuildSecret, ContainerSettings, File, Ulimit
from unit.composing import compose, notes, one, refusals, specs, wrong

# The keys of a service in the schema and the text of the Compose specification (compose-spec/compose-spec, 170098b).
SPECIFIED = """
annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count
cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on deploy
develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file environment expose extends
external_links extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links logging
mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable
oom_score_adj pid pids_limit platform ports post_start pre_start pre_stop privileged profiles provider pull_policy
pull_refresh_after read_only restart runtime scale secrets security_opt shm_size stdin_open stop_grace_period
stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir
"""
HOST = {
    "Dockerfile": "",
    "app/Dockerfile": "",
    "nginx.conf": "",
    "conf/a": "",
    "one.env": "A=1\nB=1\n",
    "two.env": "B=2\n",
    "three.env": "C=$A$E\n",
}
MIB = 1 << 20


def test_every_key_of_the_specification_is_translated_left_out_or_refused() -> None:
    ours = [*{**_BY_KEY, **_WHOLE}, *NOT_TAKEN, *NOTED, *REFUSED]
    assert sorted(ours) == SPECIFIED.split()


@pytest.mark.parametrize(
    ("keys", "name", "value"),
    [
        ("image: redis:7", "image", "redis:7"),
        ("command: serve --name 'a b' --all", "command", ("serve", "--name", "a b", "--all")),
        ("command: [serve, 1]", "command", ("serve", "1")),
        ("command: []", "command", ()),
        ("command: echo {x.y} {{x.y}}", "command", ("echo", "{{x.y}}", "{{{x.y}}}")),
        ("entrypoint: /run.sh", "entrypoint", ("/run.sh",)),
        ("environment: {A: 1, B: yes, C: '', D: , E: }", "env", (("A", "1"), ("B", "yes"), ("C", ""), ("E", "shell"))),
        ("environment: [A=1=2, E, 'J={\"a.b\"}{c.d}']", "env", (("A", "1=2"), ("E", "shell"), ("J", '{"a.b"}{{c.d}}'))),
        ("env_file: one.env", "env", (("A", "1"), ("B", "1"))),
        ("env_file: [one.env, ./two.env]\nenvironment: {A: 3}", "env", (("A", "3"), ("B", "2"))),
        ("env_file: [one.env, {path: three.env}]", "env", (("A", "1"), ("B", "1"), ("C", "1shell"))),
        ("env_file: [{path: gone.env, required: false}, {path: two.env, format: raw}]", "env", (("B", "2"),)),
        ("ports: ['80', '8443:443', '127.0.0.1:9:90', '[::1]:7:70/tcp', '6:5-6']", "ports", (80, 443, 90, 70, 5, 6)),
        ("ports: [22:22, 3000]", "ports", (22, 3000)),
        ("ports: [{target: 80, published: '8080-8090', mode: host, name: web, app_protocol: http}]", "ports", (80,)),
        ("ports: [{target: 80, app_protocol: http}, 90]", "url", "http://{host}:{port}"),
        ("ports: [{target: 80, app_protocol: grpc}]", "url", None),
        ("ports: [90, {target: 80, app_protocol: http}]", "url", None),
        ("ports: [{target: 443, app_protocol: https}]\nexpose: [443, 80]", "url", "https://{host}:{port}"),
        ("ports: ['80:8080']\nexpose: [8080, '9000-9001/tcp']", "ports", (8080, 9000, 9001)),
        ("mem_limit: 50m", "memory_bytes", 50 * MIB),
        ("mem_limit: 0", "memory_bytes", UNLIMITED),
        ("cpus: 0.5", "cpus", 0.5),
        ("pids_limit: 9", "pids", 9),
        ("pids_limit: -1", "pids", UNLIMITED),
        ("shm_size: 2gb", "shm_bytes", 2048 * MIB),
        ("deploy: {replicas: 1, resources: {limits: {memory: 2g}, reservations: {}}}", "memory_bytes", 2048 * MIB),
        ("deploy: {resources: {limits: {cpus: '0.25'}}}", "cpus", 0.25),
        ("deploy: {resources: {limits: {pids: 7}}}", "pids", 7),
        ("deploy: {mode: global, labels: {a: b}, placement: {constraints: [x]}, restart_policy: {}}", "cpus", None),
        ("scale: 1", "ports", ()),
        ("cap_add: [CAP_NET_ADMIN, sys_time]", "cap_add", ("NET_ADMIN", "SYS_TIME")),
        ("security_opt: ['no-new-privileges:false']", "new_privileges", True),
        ("security_opt: [no-new-privileges=true]", "new_privileges", False),
        ("network_mode: bridge", "needs", ()),
        ("privileged: false\noom_kill_disable: false", "needs", ()),
        ("init: true\nrestart: always\nlogging: {driver: none}\nattach: false", "needs", ()),
        ("pull_policy: always", "pull", "always"),
        ("pull_policy: never", "pull", "never"),
        ("pull_policy: if_not_present", "pull", "missing"),
        ("platform: linux/arm64", "platform", "linux/arm64"),
        ("healthcheck: {test: [CMD, a, b]}", "ready", (Command(argv=("a", "b")),)),
        ("healthcheck: {test: 'a | b $$C'}", "ready", (Command(argv=("/bin/sh", "-c", "a | b $C")),)),
        ("healthcheck: {test: [CMD-SHELL, a]}", "ready", (Command(argv=("/bin/sh", "-c", "a")),)),
        ("healthcheck: {interval: 1m}", "ready", ()),
        ("healthcheck: {disable: true}\nports: ['1:2']", "ready", (Tcp(port=2),)),
        ("healthcheck: {test: [NONE]}", "ready", (Ports(ports=()),)),
        ("healthcheck: {test: a, interval: 1m30s, timeout: 10s, retries: 2, start_period: 500ms}", "timeout_s", 190.5),
        ("healthcheck: {test: a, interval: 1s, timeout: 1s}", "timeout_s", 60),
        ("healthcheck: {test: a}", "timeout_s", 120),
        ("build: .", "build", Build(context="/p", dockerfile="/p/Dockerfile")),
        (
            "image: own:1\nbuild: {context: app, dockerfile: D, target: t, args: [A=1, E], network: host, pull: true}",
            "build",
            Build(
                context="/p/app", dockerfile="/p/app/D", target="t", args=(("A", "1"), ("E", "shell")), network="host"
            ),
        ),
        ("image: own:1\nbuild: .", "image", None),
    ],
)  # fmt: skip
def test_a_key_becomes_one_of_ours(keys: str, name: str, value: object) -> None:
    assert getattr(one(keys, files=HOST, environ={"E": "shell"}), name) == value


@pytest.mark.parametrize(
    ("keys", "settings"),
    [
        ("cap_drop: [ALL]", ContainerSettings(cap_drop=("ALL",))),
        ("dns: 192.0.2.1\ndns_search: [a, b]\ndns_opt: [use-vc]",
         ContainerSettings(dns=("192.0.2.1",), dns_search=("a", "b"), dns_options=("use-vc",))),
        ("hostname: h\ndomainname: d", ContainerSettings(hostname="h", domainname="d")),
        ("extra_hosts: ['a=192.0.2.1', 'b:::1', 'a:192.0.2.2']",
         ContainerSettings(extra_hosts=(("a", "192.0.2.1"), ("a", "192.0.2.2"), ("b", "::1")))),
        ("extra_hosts: {a: 192.0.2.1, b: [192.0.2.2, host-gateway]}",
         ContainerSettings(extra_hosts=(("a", "192.0.2.1"), ("b", "192.0.2.2"), ("b", "host-gateway")))),
        ("group_add: [mail, 1000]", ContainerSettings(group_add=("mail", "1000"))),
        ("init: true\nread_only: 'yes'\nstdin_open: true\ntty: false",
         ContainerSettings(init=True, read_only=True, stdin_open=True)),
        ("tty: true", ContainerSettings(stdin_open=True)),
        ("labels: {a.b: 1, c: }", ContainerSettings(labels=(("a.b", "1"), ("c", "")))),
        ("stop_signal: SIGUSR1", ContainerSettings(stop_signal="SIGUSR1")),
        ("sysctls: [net.core.somaxconn=1024]", ContainerSettings(sysctls=(("net.core.somaxconn", "1024"),))),
        ("tmpfs: /run", ContainerSettings(tmpfs=(("/run", ""),))),
        ("tmpfs: ['/run:size=1m,mode=755', /tmp]",
         ContainerSettings(tmpfs=(("/run", "size=1m,mode=755"), ("/tmp", "")))),
        ("volumes: [{type: tmpfs, target: /a, tmpfs: {size: 1M, mode: 01777}}]\ntmpfs: /b",
         ContainerSettings(tmpfs=(("/a", "size=1m,mode=1777"), ("/b", "")))),
        ("ulimits: {nproc: 9, nofile: {soft: 1, hard: 2}}",
         ContainerSettings(ulimits=(Ulimit(name="nofile", soft=1, hard=2), Ulimit(name="nproc", soft=9, hard=9)))),
        ("user: 1000:1000\nworking_dir: /srv", ContainerSettings(user="1000:1000", working_dir="/srv")),
        ("container_name: my-web", ContainerSettings(aliases=("my-web",))),
        ("networks: {default: {aliases: [www, web]}, a: , b: {priority: 1}}", ContainerSettings(aliases=("www",))),
    ],
)  # fmt: skip
def test_a_key_becomes_a_setting_of_the_container(keys: str, settings: ContainerSettings) -> None:
    found = one(
        keys, "networks: {a: {driver: bridge, ipam: {config: [{subnet: 192.0.2.0/24}]}}, b: {attachable: true}}"
    )
    aliases = tuple(name for name in found.container.aliases if name != "web")
    assert found.container == ContainerSettings(
        **{f: getattr(settings, f) for f in ContainerSettings.__slots__ if f != "aliases"}, aliases=("web", *aliases)
    )
    assert aliases == settings.aliases


MOUNTS = "volumes: {data: , named: {name: other, labels: {a: b}}}"


@pytest.mark.parametrize(
    ("mount", "volumes"),
    [
        ("data:/data", {"data": "/data"}),
        ("data:/data:ro", {"data": "/data:ro"}),
        ("named:/data/:rw,z", {"named": "/data"}),
        ("/cache", {"web-0": "/cache"}),
        ("./gone:/gone", {"empty:/p/gone": "/gone"}),
        ("{type: volume, source: data, target: /data, read_only: true}", {"data": "/data:ro"}),
        ("{type: volume, target: /data}", {"web-0": "/data"}),
        ("{type: bind, source: ./gone, target: /x, bind: {create_host_path: true}}", {"empty:/p/gone": "/x"}),
    ],
)
def test_volumes_are_the_stacks_own(mount: str, volumes: dict[str, str]) -> None:
    assert dict(one(f"volumes: [{mount!r}]" if mount[0] != "{" else f"volumes: [{mount}]", MOUNTS).volumes) == volumes


@pytest.mark.parametrize(
    ("mount", "mode"),
    [
        ("'./nginx.conf:/etc/nginx.conf:ro'", ":ro"),
        ("'/p/nginx.conf:/etc/nginx.conf'", ""),
        ("'~/nginx.conf:/etc/nginx.conf'", ""),
        ("{type: bind, source: nginx.conf, target: /etc/nginx.conf, read_only: true}", ":ro"),
    ],
)
def test_a_file_of_the_host_is_mounted(mount: str, mode: str) -> None:
    found = one(f"volumes: [{mount}]", files=HOST, environ={"HOME": "/p"})
    assert found.volumes == (("/p/nginx.conf", f"/etc/nginx.conf{mode}"),)
    assert found.files == ()


def test_a_folder_of_the_host_is_mounted() -> None:
    assert one("volumes: [./conf:/conf]", files=HOST).volumes == (("/p/conf", "/conf"),)


def test_a_folder_of_the_host_is_mounted_at_two_places() -> None:
    mounts = "volumes: [./conf:/a, ./conf:/b:ro]"
    assert one(mounts, files=HOST).volumes == (("/p/conf", "/a"), ("/p/conf", "/b:ro"))


def test_secrets_and_configs_have_the_owner_that_is_asked_for() -> None:
    given = one("secrets: [{source: a, uid: '999', gid: '7', mode: 0400}]", GIVEN, files=HOST)
    assert given.files == (File(target="/run/secrets/a", source="/p/conf/a", mode=0o400, owner="999:7"),)


GIVEN = """
secrets: {a: {file: ./conf/a}, b: {environment: B}}
configs: {c: {content: "$B {x.y}"}, d: {file: nginx.conf}}
"""


def test_secrets_and_configs_are_files() -> None:
    keys = """
    secrets: [a, {source: b, target: pw, mode: 0400}, {source: b, target: /pw, uid: '0'}]
    configs: [c, {source: d, target: /etc/d}]
    """
    assert one(keys, GIVEN, files=HOST, environ={"B": "s"}).files == (
        File(target="/c", text="s {{x.y}}", mode=0o444),
        File(target="/etc/d", source="/p/nginx.conf", mode=0o444),
        File(target="/pw", text="s", mode=0o444),
        File(target="/run/secrets/a", source="/p/conf/a", mode=0o444),
        File(target="/run/secrets/pw", text="s", mode=0o400),
    )


NEEDS = """\
services:
  web:
    image: i
    depends_on:
      db: {condition: service_healthy, restart: true}
      migrate: {condition: service_completed_successfully}
      cache: {condition: service_started}
      extra: {condition: service_started, required: false}
    links: ["db:database", mail]
  db: {image: i, healthcheck: {test: ok}}
  migrate: {image: i, depends_on: [db], ports: ["1:1"]}
  cache: {image: i}
  mail: {image: i}
  extra: {image: i, profiles: [extra]}
"""


def test_what_must_be_there_first_is_needed() -> None:
    found = specs(NEEDS)
    assert found["web"].needs == ("db", "migrate", "cache", "mail")
    assert (found["migrate"].ready, found["migrate"].needs) == ((Ended(),), ("db",))
    assert found["db"].container.aliases == ("db", "database")
    assert specs(NEEDS, profiles="extra")["web"].needs == ("db", "migrate", "cache", "extra", "mail")


EVERY_KEY_OF_A_BUILD = """
services:
  web:
    build:
      context: app
      dockerfile_inline: FROM x
      secrets: [key, {source: token, target: t}]
      ssh: [default, k=id]
      cache_from: [a, type=gha]
      cache_to: ["type=inline"]
      additional_contexts: {lib: ../lib, base: docker-image://debian}
      labels: [a=1, b]
      extra_hosts: ["db:10.0.0.1"]
      shm_size: 1g
secrets:
  key: {file: nginx.conf}
  token: {environment: E}
"""


def test_every_key_of_a_build_is_taken_and_of_secrets_only_the_places() -> None:
    assert specs(EVERY_KEY_OF_A_BUILD, files=HOST, environ={"E": "shell"})["web"].build == Build(
        context="/p/app",
        dockerfile="/p/app/Dockerfile",
        inline="FROM x",
        secrets=(BuildSecret(name="key", file="/p/nginx.conf"), BuildSecret(name="t", env="E")),
        ssh=("default", "k=/p/id"),
        cache_from=("a", "type=gha"),
        cache_to=("type=inline",),
        contexts=(("base", "docker-image://debian"), ("lib", "/lib")),
        labels=(("a", "1"), ("b", "")),
        extra_hosts=(("db", "10.0.0.1"),),
        shm_bytes=1024 * MIB,
    )


def test_a_secret_of_a_build_whose_variable_is_not_set_is_told() -> None:
    text = EVERY_KEY_OF_A_BUILD.replace("environment: E", "environment: GONE")
    (problem,) = compose(text, files=HOST, environ={"E": "shell"}).stack.problems
    assert (problem.subject, problem.reason) == ("secrets.token.environment", "the variable GONE has no value")


def test_an_image_that_one_service_builds_is_built_for_all_that_name_it() -> None:
    found = specs("services: {web: {build: ./app, image: own}, worker: {image: own, command: work}}", files=HOST)
    assert found["worker"].build == found["web"].build
    assert found["worker"].image is None


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_what_cannot_be_honoured_is_refused_with_its_key(key: str) -> None:
    (told,) = refusals(f"\n{key}: [x]")
    assert told == f"compose.yaml:3: services.web.{key}: cannot be honoured: {REFUSED[key]}"


@pytest.mark.parametrize("key", sorted(NOTED))
def test_what_makes_no_difference_to_tests_is_left_out_with_a_note(key: str) -> None:
    assert notes(f"\n{key}: [x]") == [f"compose.yaml:3: services.web.{key}: is left out: {NOTED[key]}"]


OTHERS = """
volumes:
  ext: {external: true}
  nfs: {driver_opts: {type: nfs}}
  own: {driver: cloud}
  data:
networks:
  out: {external: true}
  inner: {internal: true}
  six: {enable_ipv6: true}
  wide: {driver: overlay}
  plain:
secrets:
  far: {external: true}
  near: {content: x}
"""


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("network_mode: container:other", "3: services.web.network_mode: cannot be honoured: 'container:other'"),
        ("network_mode: service:db", "3: services.web.network_mode: there is no service 'db'"),
        ("network_mode: wild", "3: services.web.network_mode: 'wild' is not a network mode"),
        ("ports: ['53:53/dns']", "3: services.web.ports[0]: 'dns' is not a protocol of ports"),
        ("security_opt: ['x:y']", "3: services.web.security_opt[0]: cannot be honoured: the security option 'x:y'"),
        ("security_opt: ['seccomp:x.json']", "3: services.web.security_opt[0]: /p/x.json cannot be read"),
        ("volumes: [./data:/x]", "3: services.web.volumes[0]: cannot be honoured: /p/data may not be read"),
        ("volumes: ['${NO}:/x']", "3: services.web.volumes[0]: ':/x' has nothing in front of its colon"),
        (
            "volumes:\n  - {type: volume, source: data, target: /x, volume: {subpath: a}}",
            "4: services.web.volumes[0].volume.subpath: cannot be honoured: the option 'subpath' of a volume",
        ),
        (
            "volumes: [{type: npipe, source: x, target: /x}]",
            "3: services.web.volumes[0]: cannot be honoured: mounts",
        ),
        ("secrets: [far]", "18: secrets.far.external: cannot be honoured: it lies outside of the file"),
        ("build: https://example.org/x.git", "3: services.web.build: cannot be honoured: a build from"),
        ("build: {secrets: [far]}", "17: secrets.far: cannot be honoured: a secret of a build that is neither a file"),
        (
            "build:\n  additional_contexts: [web=service:web]",
            "4: services.web.build.additional_contexts[0]: cannot be honoured: the context 'service:web'",
        ),
        ("pid: wild", "3: services.web.pid: 'wild' is not a mode of pid"),
    ],
)
def test_what_cannot_be_honoured_is_told_with_line_and_key(keys: str, told: str) -> None:
    (found,) = refusals(keys, OTHERS, files=HOST, closed=("/p/data",))
    line, _, text = told.partition(": ")
    where = int(line) + (keys.count("\n") if text.startswith("secrets") else 0)
    assert found.startswith(f"compose.yaml:{where}: {text}")


@pytest.mark.parametrize(
    ("keys", "name", "value", "told"),
    [
        ("ports: ['53:53/sctp', '80']", "ports", (80,), "ports[0]: a port of sctp is not published"),
        ("expose: [53/sctp]", "ports", (), "expose[0]: a port of sctp is not published"),
        ("scale: 3", "image", "i", "scale: 3 copies of a service: one is started"),
        ("deploy: {replicas: 2, resources: {limits: {cpus: '0.5'}}}", "cpus", 0.5, "deploy.replicas: 2 copies"),
        ("volumes: ['ext:/x']", "volumes", (("ext", "/x"),), "volumes.ext: an external volume: the stack has its own"),
        ("volumes: ['nfs:/x']", "volumes", (("nfs", "/x"),), "volumes.nfs.driver_opts: are left out"),
        ("volumes: ['own:/x']", "volumes", (("own", "/x"),), "volumes.own.driver: the volume driver 'cloud'"),
        ("volumes: ['data:/x:nocopy']", "volumes", (("data", "/x"),), "volumes[0]: is left out: an empty volume"),
        ("networks: {out: {aliases: [api]}}", "container.aliases", ("web", "api"), "networks.out: an external network"),
        ("networks: [inner]", "image", "i", "networks.inner.internal: is left out"),
        ("networks: [six]", "image", "i", "networks.six.enable_ipv6: is left out"),
        ("networks: [wide]", "image", "i", "networks.wide.driver: the network driver 'overlay'"),
        ("networks: {plain: {ipv4_address: 192.0.2.9, aliases: [api]}}", "container.aliases", ("web", "api"),
         "networks.plain.ipv4_address: is left out: the engine gives addresses"),
        ("network_mode: none", "container.network", "", "network_mode: is left out"),
        ("build: {context: app, ulimits: {nofile: 9}}", "image", None, "build.ulimits: is left out of the build"),
        ("secrets: [{source: near, target: /x}]\nread_only: true", "container.read_only", False,
         "read_only: is left out: a file right in the root folder"),
        ("memswap_limit: 1g\nmem_limit: 50m", "memory_bytes", 50 * MIB, "memswap_limit: is left out"),
        ("deploy: {resources: {limits: {pids: 7}, reservations: {generic_resources: [x]}}}", "pids", 7,
         "deploy.resources.reservations.generic_resources: is left out"),
    ],
)  # fmt: skip
def test_what_differs_is_noted_and_the_rest_of_it_stays(keys: str, name: str, value: object, told: str) -> None:
    (found,) = notes(keys, OTHERS, files=HOST)
    assert told in found
    assert reduce(getattr, name.split("."), one(keys, OTHERS, files=HOST)) == value


@pytest.mark.parametrize(
    ("keys", "name", "value"),
    [
        ("user: ''\nplatform: ${P:-}\nhostname: ''\nmem_limit: ${M:-}\nscale: ''", "platform", None),
        ("container_name: ${N:-}\nnetworks: {plain: {ipv4_address: ''}}", "container.aliases", ("web",)),
        ("deploy: {replicas: '', resources: {limits: {cpus: '', memory: 50m}}}", "memory_bytes", 50 * MIB),
        ("ports: [{target: 80, protocol: '', app_protocol: ''}]\nexpose: ['${E:-81}']", "ports", (80, 81)),
        ("secrets: [{source: near, target: '', mode: '', uid: ''}]", "files",
         (File(target="/run/secrets/near", text="x", mode=0o444),)),
        ("volumes: [{type: volume, source: '', target: /x, read_only: ''}]", "volumes", (("web-0", "/x"),)),
        ("healthcheck: {test: a, interval: '', retries: '', start_period: 1d}", "timeout_s", 86_520),
        ("init: ''\nprivileged: ''\nipc: ''", "container.init", False),
        ("command: ''", "command", ()),
        ("entrypoint: ''", "entrypoint", ()),
        ("volumes: ['data:/a', 'data:/b:ro']", "volumes", (("data", "/a"), ("data", "/b:ro"))),
        ("healthcheck: {test: [CMD-SHELL, a, b]}", "ready", (Command(argv=("/bin/sh", "-c", "a", "b")),)),
        ("healthcheck: {test: a, retries: 0, interval: 0s, timeout: 0s}", "timeout_s", 120),
        ("security_opt: ['seccomp:unconfined', 'label=disable', 'apparmor:unconfined', 'seccomp:s.json']",
         "container.security_opt", ("seccomp=unconfined", "label=disable", "apparmor=unconfined", "seccomp={}")),
        ("ipc: shareable", "container.namespaces", (("ipc", "shareable"),)),
        ("extra_hosts: ['h=[::1]']", "container.extra_hosts", (("h", "::1"),)),
        ("label_file: l.env\nlabels: [B=2]", "container.labels", (("A", "1"), ("B", "2"))),
        ("cpu_quota: 50000", "cpus", 0.5),
        ("cpu_quota: 10000\ncpu_period: 20000", "cpus", 0.5),
        ("secrets: [{source: near, mode: 493}]", "files", (File(target="/run/secrets/near", text="x", mode=0o755),)),
        ("secrets: [{source: near, mode: 0440}]", "files", (File(target="/run/secrets/near", text="x", mode=0o440),)),
    ],
)  # fmt: skip
def test_other_forms_mean_what_docker_compose_has_them_mean(keys: str, name: str, value: object) -> None:
    files = {**HOST, "s.json": "{}", "l.env": "A=1\nB=1\n"}
    assert reduce(getattr, name.split("."), one(keys, OTHERS, files=files)) == value
    assert notes(keys, OTHERS, files=files) == []


SHARING = """\
services:
  vpn: {image: v, container_name: the-vpn, ports: ["80:80"], volumes: ["data:/data", "/own"]}
  app: {image: i, network_mode: "service:vpn", pid: "service:vpn", volumes_from: ["vpn:ro"]}
  other: {image: i, network_mode: "container:the-vpn", volumes_from: ["container:the-vpn"]}
volumes: {data: }
"""


def test_services_share_a_network_a_namespace_and_volumes() -> None:
    found = specs(SHARING)
    assert (found["app"].container.network, found["other"].container.network) == ("service:vpn", "service:vpn")
    assert found["app"].container.namespaces == (("pid", "service:vpn"),)
    assert (found["app"].needs, found["other"].needs) == (("vpn",), ("vpn",))
    assert found["app"].volumes == (("data", "/data:ro"), ("vpn-1", "/own:ro"))
    assert found["other"].volumes == found["vpn"].volumes
    # Port 80 may be that of a program that starts later.
    assert found["vpn"].ready == (Ports(ports=()),)
    assert list(specs(SHARING, services="app")) == ["vpn", "app"]


def test_a_volume_that_stands_for_a_folder_is_that_folder() -> None:
    rest = "volumes: {conf: {driver: local, driver_opts: {type: none, o: bind, device: /p/conf}}}"
    assert one("volumes: ['conf:/etc/conf']", rest, files=HOST).volumes == (("/p/conf", "/etc/conf"),)


ALLOWED = """\
services:
  agent: {image: i, privileged: true, network_mode: host, ports: ["80"]}
  watcher: {image: i, privileged: true, volumes: ["/var/run/docker.sock:/s:ro", "/proc:/host/proc"]}
  gpu:
    image: i
    devices: ["/dev/a:/dev/b", {source: /dev/c, target: /dev/d, permissions: r}]
    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu, utility]}]}}}
  plain: {image: i}
"""


def test_what_needs_the_host_names_its_permission_and_how_many_need_it() -> None:
    problems = compose(ALLOWED).stack.problems
    assert [(p.subject.removeprefix("services."), p.hint.splitlines()[0]) for p in problems] == [
        ("agent.privileged", 'allow=["privileged"] permits it: 2 of 4 services need that permission'),
        ("agent.network_mode", 'allow=["host-network"] permits it: 1 of 4 services needs that permission'),
        ("watcher.privileged", 'allow=["privileged"] permits it: 2 of 4 services need that permission'),
        ("watcher.volumes[0]", 'allow=["docker.sock"] permits it: 1 of 4 services needs that permission'),
        ("watcher.volumes[1]", 'allow=["privileged"] permits it: 2 of 4 services need that permission'),
        ("gpu.devices", 'allow=["devices"] permits it: 1 of 4 services needs that permission'),
        (
            "gpu.deploy.resources.reservations.devices",
            'allow=["devices"] permits it: 1 of 4 services needs that permission',
        ),
    ]
    assert all("services=[...]" in p.hint and 'unsupported="warn"' in p.hint for p in problems)


def test_permissions_are_given_by_name() -> None:
    found = specs(ALLOWED, allow=["privileged", "docker.sock", "host-network", "devices"])
    agent, watcher, gpu = (found[name].container for name in ("agent", "watcher", "gpu"))
    assert (agent.privileged, agent.network, found["agent"].new_privileges) == (True, "host", True)
    assert watcher.binds == (("/host/proc", "/proc"), ("/s", "/var/run/docker.sock:ro"))
    assert gpu.devices == ("/dev/a:/dev/b", "/dev/c:/dev/d:r")
    assert gpu.gpus == ("driver=nvidia,count=2,capabilities=gpu+utility",)
    assert wrong(ALLOWED, allow="root") == ["conftest.py:3: compose.allow: 'root' is not a permission"]


@pytest.mark.parametrize(
    ("keys", "permission"),
    [
        ("volumes: [/var/run/docker.sock:/s]", "docker.sock"),
        ("volumes: ['/:/rootfs:ro']", "privileged"),
        ("volumes: ['/dev/net/tun:/dev/net/tun']", "devices"),
        ("volumes: [./db.sock:/s]", "privileged"),
        ("pid: host", "privileged"),
        ("ipc: host", "privileged"),
        ("uts: host", "privileged"),
        ("userns_mode: host", "privileged"),
        ("cgroup: host", "privileged"),
        ("security_opt: [systempaths=unconfined]", "privileged"),
        ("device_cgroup_rules: ['c 1:3 mr']", "devices"),
        ("gpus: all", "devices"),
        ("gpus: [{capabilities: [gpu]}]", "devices"),
    ],
)
def test_each_part_of_the_host_has_one_permission(keys: str, permission: str) -> None:
    text = f"services:\n  web:\n    image: i\n    {keys}\n"
    (problem,) = compose(text, others=("/p/db.sock",)).stack.problems
    assert problem.hint.startswith(f'allow=["{permission}"]')
    assert compose(text, others=("/p/db.sock",), allow=permission).stack.problems == ()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("imgae: x", "services.web.imgae: unknown key 'imgae', did you mean 'image'?"),
        ("image: [x]", "services.web.image: is a list"),
        ("command: a 'b", "services.web.command: cannot be cut into words: no closing '"),
        ("environment: text", "services.web.environment: is a text"),
        ("env_file: gone.env", "services.web.env_file: /p/gone.env cannot be read: no such file or directory"),
        ("env_file: [{file: x}]", "services.web.env_file[0]: names no file"),
        ("ports: ['80:x']", "services.web.ports[0]: '80:x' is not a port"),
        ("ports: ['0']", "services.web.ports[0]: '0' is not a range of ports"),
        ("ports: ['9-8']", "services.web.ports[0]: '9-8' is not a range of ports"),
        ("ports: [{published: 80}]", "services.web.ports[0]: names no port of the container"),
        ("ports: [{target: 99999}]", "services.web.ports[0].target: 99999 is not a port"),
        ("ports: '80'", "services.web.ports: is a text"),
        ("ports: [{target: 80, hostip: x}]",
         "services.web.ports[0].hostip: unknown key 'hostip', did you mean 'host_ip'?"),
        ("expose: [x]", "services.web.expose[0]: 'x' is not a whole number"),
        ("volumes: ['data:data']", "services.web.volumes[0]: 'data:data' is not a mount"),
        ("volumes: [dta:/data]", "services.web.volumes[0]: the volume 'dta' is not declared, did you mean 'data'?"),
        ("volumes: [{type: bind, source: x, target: /x}]",
         "services.web.volumes[0].source: there is no file or folder /p/x"),
        ("volumes: [{type: bind, target: /x}]", "services.web.volumes[0]: has no source"),
        ("volumes: [{type: volume}]", "services.web.volumes[0]: has no target"),
        ("depends_on: [dp]", "services.web.depends_on[0]: there is no service 'dp'"),
        ("depends_on: {web: {condition: ready}}", "services.web.depends_on.web: 'ready' is not a condition"),
        ("links: [nobody:x]", "services.web.links[0]: there is no service 'nobody'"),
        ("networks: [gone]", "services.web.networks[0]: the network 'gone' is not declared"),
        ("healthcheck: {test: [maybe]}", "services.web.healthcheck.test: ['maybe'] is not a health check"),
        ("healthcheck: {test: a, interval: soon}", "services.web.healthcheck.interval: 'soon' is not a duration"),
        ("healthcheck: {tests: a}", "services.web.healthcheck.tests: unknown key 'tests', did you mean 'test'?"),
        ("secrets: [gone]", "services.web.secrets[0]: the secret 'gone' is not declared"),
        ("secrets: [empty]", "secrets.empty: has no content"),
        ("secrets: [unset]", "secrets.unset.environment: the variable UNSET has no value"),
        ("secrets: [lost]", "secrets.lost.file: there is no file /p/lost"),
        ("secrets: [{source: text, mode: 9999}]", "services.web.secrets[0].mode: '9999' is not a file mode"),
        ("cap_add: [FLY]", "services.web.cap_add: 'FLY' is not a capability"),
        ("init: maybe", "services.web.init: 'maybe' is neither true nor false"),
        ("cpus: many", "services.web.cpus: 'many' is not a number"),
        ("extra_hosts: [localhost]", "services.web.extra_hosts[0]: 'localhost' is not a host with an address"),
        ("ulimits: {nofile: many}", "services.web.ulimits.nofile: 'many' is not a whole number"),
        ("build: {contxt: .}", "services.web.build.contxt: unknown key 'contxt', did you mean 'context'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line_and_key(keys: str, told: str) -> None:
    rest = (
        "volumes: {data: }\nsecrets: {empty: {}, unset: {environment: UNSET}, lost: {file: lost}, text: {content: x}}\n"
    )
    (found,) = refusals(keys, rest, files=HOST)
    where, _, what = found.partition(": ")
    assert where == f"compose.yaml:{6 if told.startswith('secrets') else 3}"
    assert what == told


def test_what_planning_refuses_has_the_files_line() -> None:
    from pytest_isolate.errors import DeclarationError

    with pytest.raises(DeclarationError) as caught:
        one("environment: {A: 1}\nmem_limit: 1k")
    (problem,) = caught.value.problems
    assert (problem.place, problem.subject) == ("/p/compose.yaml:4", "shop.web.memory".removeprefix("shop."))


def test_unsupported_keys_may_be_left_out() -> None:
    found = one("privileged: true\nports: ['1:1', '2:2/sctp']\nvolumes: ['/:/host', /own]", unsupported="warn")
    assert (found.ports, dict(found.volumes)) == ((1,), {"web-1": "/own"})
    assert wrong("services: {web: {image: i, foo: 1}}", unsupported="warn") != []


@pytest.mark.parametrize(
    ("keys", "tcp", "udp"),
    [
        ("ports: ['53:53/udp', '80', '5000-5001:5000-5001/UDP']", (80,), ("53/udp", "5000/udp", "5001/udp")),
        ("ports: [{target: 53, protocol: udp}, {target: 53}]", (53,), ("53/udp",)),
        ("expose: [53/udp, 60-61/udp]", (), ("53/udp", "60/udp", "61/udp")),
        ("ports: [{target: 53, protocol: udp, app_protocol: http}, {target: 80}]", (80,), ("53/udp",)),
    ],
)
def test_ports_of_udp_are_published(keys: str, tcp: tuple[int, ...], udp: tuple[str, ...]) -> None:
    found = one(keys)
    assert (found.ports, found.udp_ports, found.url) == (tcp, udp, None)
    assert notes(keys) == []


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("restart: on-failure:3", "on-failure:3"),
        ("restart: 'no'", ""),
        ("restart: no", ""),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 4}}", "on-failure:4"),
        ("deploy: {restart_policy: {condition: none}}", ""),
        ("deploy: {restart_policy: {delay: 5s}}", "always"),
        ("restart: 'no'\ndeploy: {restart_policy: {condition: any}}", ""),
    ],
)
def test_compose_files_name_the_policy(text: str, policy: str) -> None:
    assert one(text).container.restart == policy
