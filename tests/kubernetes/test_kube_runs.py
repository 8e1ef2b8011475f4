"""Whole runs of pytest on a fake cluster, chosen by --isolate-engine; and that they leave nothing."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping

import pytest
import yaml
from engine.test_fresh import DECLARE, POSTGRES
from waiting import wait_for

from kubernetes.calling import Api
from kubernetes.conftest import Kubectl
from kubernetes.fake.handle import FakeCluster
from kubernetes.projects import GET, TESTS, WEB, Project, Result, what_is_there
from kubernetes.test_kube_engine import ARC

pytestmark = [pytest.mark.engine, pytest.mark.linux]

DEPARTMENTS = """
FRONT = program("serve 8001 front")

def department(name):
    front = service(web, port=8001, entrypoint=FRONT[:1], command=FRONT[1:], needs=["web_server"])
    return {"web_server": service(web, env={"NAME": name}), "Front": front}

hr = stack(**department("hr"))
sales = stack(**department("sales"), ports="native")
"""


def passed(result: Result) -> int:
    found = re.search(r"(\d+) passed", result.stdout)
    assert result.returncode == 0
    assert found
    return int(found[1])


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
def test_services_answer_and_know_each_other(project: Project, workers: tuple[str, ...]) -> None:
    project.write(
        "conftest.py",
        WEB,
        """
        front = service(
            web,
            env={"WEB": "{web.url}", "OUTSIDE": "{self.external_host}:{self.external_port}"},
            files={"/etc/note": "copied in"},
        )
        """,
    )
    project.write(
        "test_it.py",
        GET,
        """
        def test_addresses(web, front):
            assert (get(web), get(front, "/fetch/web/8000")) == ("hello", "hello")
            assert get(front, "/env/OUTSIDE") == front.address
            assert front.exec("cat", "/etc/note", check=True).stdout == "copied in"

        def test_a_restart_keeps_the_address(web):
            before = web.address
            web.restart()
            assert (web.address, get(web)) == (before, "hello")

        def test_faults(front):
            with front.stopped():
                with pytest.raises(OSError):
                    get(front)
            with front.paused():
                pass
            assert get(front) == "hello"
        """,
    )
    assert passed(project.run(*workers)) == 3


def test_stacks_with_the_same_names_run_side_by_side(project: Project) -> None:
    project.write("conftest.py", WEB, DEPARTMENTS)
    project.write(
        "test_it.py",
        GET,
        """
        def test_it(hr, sales):
            assert [get(s.web_server, "/env/NAME") for s in (hr, sales)] == ["hr", "sales"]
            assert get(hr.Front, "/fetch/web_server/8000") == "hello"
            assert sales.web_server.port == 8000
        """,
    )
    assert passed(project.run()) == 1


def test_images_are_built_and_pushed_and_databases_copied(project: Project, registry: str) -> None:
    project.write("conftest.py", DECLARE, POSTGRES, "orders = fresh(db)")
    project.write(
        "test_it.py",
        "from conftest import psql",
        """
        @pytest.mark.parametrize("n", range(3))
        def test_it(orders, n):
            assert psql(orders, "SELECT to_regclass('seen')") == ""
            psql(orders, "CREATE TABLE seen ()")
        """,
    )
    assert passed(project.run(f"--isolate-push={registry}/tests", "-n2")) == 3


def test_a_compose_project_runs(project: Project) -> None:
    (project.path / "compose.json").write_text(
        json.dumps(
            {
                "services": {
                    "web": {"image": "IMAGE", "entrypoint": ["sleep"], "command": ["infinity"]},
                    "back_end": {"image": "IMAGE", "entrypoint": ["sleep"], "command": ["infinity"]},
                }
            }
        ).replace("IMAGE", "debian:bookworm-slim")
    )
    project.write("conftest.py", "shop = compose('compose.json')")
    project.write(
        "test_it.py", "def test_it(shop): assert 'back_end' in shop.web.exec('getent', 'hosts', 'back_end').stdout"
    )
    assert passed(project.run()) == 1


def test_what_a_cluster_cannot_do_is_refused_by_name_before_anything_starts(project: Project, api: Api) -> None:
    project.write(
        "conftest.py",
        WEB,
        """
        dns = service(web, ports=[8000, "53/udp"])
        limited = service(web, container={"ulimits": {"nofile": 100}})
        built = service(build=".", port=80)
        one = service(web, volumes={"both": "/a"})
        two = service(web, volumes={"both": "/b"})
        """,
    )
    (project.path / "Dockerfile").write_text("FROM scratch")
    project.write("test_it.py", "def test_it(web, dns, limited, built, one, two): pass")
    result = project.run()
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    for text in (
        "cannot run these services as they are declared; no test was run",
        "service 'dns'",
        "it cannot publish ports of UDP",
        "service 'limited'",
        "ulimits: those of a pod are its node's",
        "service 'built'",
        "it cannot build images",
        "services 'one' and 'two': volume 'both'",
    ):
        assert text in result.stdout
    assert what_is_there(api) == []


def test_missing_rights_are_named_all_at_once(project: Project, fake_cluster: FakeCluster, namespace: str) -> None:
    project.env["KUBECONFIG"] = fake_cluster.order("add_user", user="nobody", namespace=namespace, rules=[])[
        "kubeconfig"
    ]
    project.write("conftest.py", WEB)
    project.write("test_it.py", "def test_it(web): pass")
    result = project.run()
    assert result.returncode != 0
    for text in ("pods: create, delete, get, list, patch", "secrets:", "pods/exec:", "pytest-isolate kubernetes role"):
        assert text in result.stdout


def test_a_run_that_is_killed_leaves_nothing(project: Project) -> None:
    project.write("conftest.py", WEB)
    project.write("test_it.py", "import os, signal", "def test_it(web): os.kill(os.getpid(), signal.SIGKILL)")
    assert project.run().returncode not in (0, 1)


def test_what_a_failed_test_has_used_is_kept_until_it_is_removed(project: Project, api: Api) -> None:
    project.write("conftest.py", WEB, "other = service(web)")
    project.write("test_it.py", GET, "def test_it(web): assert get(web) == 'x'", "def test_other(other): pass")
    output = project.run("--isolate-keep=failed").stdout
    found = re.search(r"to remove it: pytest-isolate remove (\w+)", output)
    assert found
    assert re.search(rf"exec -it isolate-{found[1]}-web-\S+-[0-9a-f]{{12}} -- sh", output)
    # Longer than the cluster takes to remove what has lost its owner.
    time.sleep(5)
    pods = api.get("pods")["items"]
    assert [pod["metadata"]["annotations"]["pytest-isolate/name"].count("web") for pod in pods] == [1]
    assert "kept" in project.command("gc").stdout
    assert [pod["metadata"]["uid"] for pod in api.get("pods")["items"]] == [pods[0]["metadata"]["uid"]]
    assert project.command("remove", found[1]).returncode == 0


def test_what_was_made_before_the_guardian_watched_is_removed_too(project: Project, api: Api) -> None:
    project.write("conftest.py", WEB)
    project.write("test_it.py", "def test_it(web): pass")
    assert project.command("up").returncode == 0
    [lease] = api.get("leases")["items"]
    run = lease["metadata"]["labels"]["pytest-isolate.run"]
    no_process = (str(2**22 - 1), "1")
    name = f"pytest-isolate-test-{secrets.token_hex(8)}"
    result = project.call("-m", "pytest_isolate.cli.guardian", name, run, *no_process)
    assert "which was to be watched, is gone" in result.stdout
    wait_for(lambda: not what_is_there(api), 60, show=lambda: what_is_there(api))


def test_a_run_of_another_machine_goes_when_it_was_not_heard_of_for_too_long(project: Project, api: Api) -> None:
    project.write("conftest.py", WEB)
    project.write(
        "test_it.py",
        """
        import os
        from crash.observing import find_processes, kill

        def test_it(web):
            for pid in (*find_processes(os.getpid()).guardian, os.getpid()):
                kill(pid)
        """,
    )
    project.run(prefix=("unshare", "--uts", "sh", "-c", 'hostname vanished; exec "$@"', "sh"))
    left = sorted(what_is_there(api))
    assert left
    assert "its owner runs on another host" in project.command("gc").stdout
    assert sorted(what_is_there(api)) == left
    [lease] = api.get("leases")["items"]
    assert lease["spec"]["leaseDurationSeconds"] == 7200
    api.patch(f"leases/{lease['metadata']['name']}", {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}})
    assert "its run has not been heard of for too long" in project.command("gc").stdout


def test_what_is_kept_for_later_runs_is_used_by_them_and_goes_by_name(project: Project, api: Api) -> None:
    project.write("conftest.py", WEB)
    project.write("test_it.py", GET, "def test_it(web): assert get(web) == 'hello'")
    uids = []
    for _ in range(2):
        assert passed(project.run("--isolate-reuse")) == 1
        assert "kept" in project.command("gc").stdout
        time.sleep(2)  # longer than the cluster takes to remove what has lost its owner
        uids.append([pod["metadata"]["uid"] for pod in api.get("pods")["items"]])
    assert len(uids[0]) == 1
    assert uids[0] == uids[1]
    [lease] = api.get("leases")["items"]
    assert project.command("remove", lease["metadata"]["labels"]["pytest-isolate.run"]).returncode == 0


def test_services_by_hand(project: Project, api: Api) -> None:
    project.write("conftest.py", WEB)
    project.write("test_it.py", "def test_it(web): pass")
    assert project.command("up").returncode == 0
    # Whoever started it has ended, and it is nobody's leftover.
    left = what_is_there(api)
    assert "until pytest-isolate down" in project.command("gc").stdout
    time.sleep(2)
    assert what_is_there(api) == left
    assert "running" in project.command("ps").stdout
    assert project.command("exec", "web", "--", "sh", "-c", "echo said; exit 3").returncode == 3
    assert project.command("doctor").returncode == 0
    assert project.command("down").returncode == 0
    assert "nothing of ours" in project.command("ps").stdout


def test_the_role_that_is_printed_is_enough(project: Project, fake_cluster: FakeCluster, namespace: str) -> None:
    role = next(yaml.safe_load_all(project.command("kubernetes", "role").stdout))
    made = fake_cluster.order("add_user", user="runner", namespace=namespace, rules=role["rules"])
    project.env["KUBECONFIG"] = made["kubeconfig"]
    project.write("conftest.py", WEB)
    project.write("test_it.py", GET, "def test_it(web): assert get(web) == 'hello'")
    assert passed(project.run()) == 1


# -- in a Pod of the cluster -------------------------------------------------------------------------------------------

# Of each worker, so that no other one is there when it is stopped.
OWN = "own = service(web, share='worker')"
INSIDE = """
def test_addresses_are_the_clusters_own(web, front):
    assert web.port == 8000 and not web.host.startswith("127.")
    assert (get(web), get(front, "/fetch/web/8000")) == ("hello", "hello")
    assert get(front, "/env/OUTSIDE") == front.address

def test_a_restart_keeps_the_address(own):
    before = own.address
    own.restart()
    assert (own.address, get(own)) == (before, "hello")
"""


def start_job(
    project: Project, api: Api, image: str, command: list[str], also: Mapping[str, str] | None = None
) -> None:
    """A Pod `job` in which the project can be run, as soon as it runs; `also` has more paths of the host by theirs."""
    mounts = {"/src": str(TESTS.parent), "/project": str(project.path), **(also or {})}
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "workingDir": "/project",
        "env": [{"name": "PYTHONPATH", "value": "/src:/src/tests"}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "volumeMounts": [{"name": f"m{n}", "mountPath": inside} for n, inside in enumerate(mounts)],
    }
    volumes = [{"name": f"m{n}", "hostPath": {"path": path}} for n, path in enumerate(mounts.values())]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    api.create("pods", {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "job"}, "spec": spec})
    wait_for(
        lambda: "running" in (api.get("pods/job")["status"].get("containerStatuses") or [{"state": {}}])[0]["state"]
    )


RUN_INSIDE = "python3 -m pytest --isolate -p pytest_isolate.plugin.hooks -p no:cacheprovider"
COMMAND_INSIDE = (
    "PYTEST_PLUGINS=pytest_isolate.plugin.hooks python3 -c 'from pytest_isolate.cli.main import main; main()'"
)


@pytest.fixture
def run_in_pod(project: Project, api: Api, kubectl: Kubectl, machine: str) -> Callable[..., str]:
    """A function that runs the project in a Pod of the namespace; it returns the output."""

    def run(*args: str, before: str = "") -> str:
        start_job(project, api, machine, ["sleep", "infinity"])
        # How it ended is in its output.
        script = f"{before} {RUN_INSIDE} {' '.join(args)} 2>&1 || true"
        output = kubectl("exec", "job", "--", "sh", "-c", script).stdout
        print(output)
        kubectl("delete", "pod", "job", "--grace-period=0", "--force")
        return output

    return run


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_in_a_pod_the_cluster_is_found_and_services_have_addresses_there(
    project: Project, kubectl: Kubectl, run_in_pod: Callable[..., str], workers: str
) -> None:
    kubectl("apply", "-f", "-", text=project.command("kubernetes", "role").stdout)
    project.write(
        "conftest.py",
        WEB,
        "front = service(web, env={'OUTSIDE': '{self.external_host}:{self.external_port}'})",
        OWN,
    )
    project.write("test_it.py", GET, INSIDE)
    assert "2 passed" in run_in_pod(workers)


SHARED = """
import os, time
from pathlib import Path

def pytest_unconfigure(config):
    if hasattr(config, "workerinput"):
        Path("ended").touch()
"""


def test_in_a_pod_a_worker_that_ends_first_leaves_the_addresses_to_the_other(
    project: Project, kubectl: Kubectl, run_in_pod: Callable[..., str]
) -> None:
    kubectl("apply", "-f", "-", text=project.command("kubernetes", "role").stdout)
    # Each is started by the one worker or the other.
    names = ["web", *(f"other{number}" for number in range(4))]
    project.write("conftest.py", WEB, SHARED, *(f"{name} = service(web)" for name in names[1:]))
    used = ", ".join(names)
    project.write(
        "test_it.py",
        GET,
        f"""
        import time
        from pathlib import Path

        @pytest.fixture
        def shared({used}):
            return [{used}]

        def test_first(shared):
            assert {{get(one) for one in shared}} == {{"hello"}}

        def test_second(shared):
            while not Path("ended").exists():
                time.sleep(0.1)
            time.sleep(2)  # longer than a Service that is gone is served still
            assert {{get(one) for one in shared}} == {{"hello"}}
        """,
    )
    assert "2 passed" in run_in_pod("-n2")


def test_in_a_pod_what_is_kept_and_what_is_up_keeps_its_address(
    project: Project, api: Api, kubectl: Kubectl, run_in_pod: Callable[..., str]
) -> None:
    kubectl("apply", "-f", "-", text=project.command("kubernetes", "role").stdout)
    project.write("conftest.py", WEB)
    project.write(
        "test_it.py",
        GET,
        """
        def test_it(web):
            assert get(web) == "hello"
            with open("names", "a") as file:
                file.write(web.exec("hostname", check=True).stdout)
        """,
    )
    # Longer than a Service that is gone is served still.
    run = f"--isolate-reuse && sleep 2 && {RUN_INSIDE} --isolate-reuse"
    assert run_in_pod(run, f"&& {COMMAND_INSIDE} up").count("1 passed") == 2
    first, second = (project.path / "names").read_text().split()
    assert first == second
    assert len(api.get("services")["items"]) == 2
    # Addresses go with their runs.
    for lease in api.get("leases")["items"]:
        api.call("DELETE", f"leases/{lease['metadata']['name']}")


def test_in_a_pod_an_address_goes_with_a_kept_service_that_has_changed(
    project: Project, api: Api, kubectl: Kubectl, run_in_pod: Callable[..., str]
) -> None:
    kubectl("apply", "-f", "-", text=project.command("kubernetes", "role").stdout)
    project.write("conftest.py", "import os", WEB, "other = service(web, env={'VERSION': os.environ['VERSION']})")
    project.write("test_it.py", GET, "def test_it(web, other): assert get(web) == get(other) == 'hello'")
    changed = f"&& VERSION=2 {RUN_INSIDE} --isolate-reuse"
    assert run_in_pod("--isolate-reuse", changed, before="export VERSION=1;").count("1 passed") == 2
    given = {pod["metadata"]["labels"]["pytest-isolate/address"] for pod in api.get("pods")["items"]}
    wait_for(
        lambda: {one["metadata"]["name"] for one in api.get("services")["items"]} == given,
        show=lambda: what_is_there(api),
    )
    for lease in api.get("leases")["items"]:
        api.call("DELETE", f"leases/{lease['metadata']['name']}")


def allow_job(project: Project, kubectl: Kubectl, rules: object = None) -> None:
    """Give the service account of the namespace the Role that is printed, or one with these rules."""
    role, binding = yaml.safe_load_all(project.command("kubernetes", "role").stdout)
    kubectl("apply", "-f", "-", text=yaml.safe_dump_all([{**role, "rules": rules or role["rules"]}, binding]))


@pytest.fixture
def arc(project: Project, kubectl: Kubectl) -> None:
    """The service account of the namespace has the Role that Actions Runner Controller gives its runners, no more."""
    allow_job(project, kubectl, ARC)


@pytest.mark.parametrize("rules", [None, ARC], ids=["whole", "small"])
def test_in_a_pod_ps_tells_the_addresses_that_up_has_told(
    project: Project, kubectl: Kubectl, run_in_pod: Callable[..., str], rules: object
) -> None:
    allow_job(project, kubectl, rules)
    project.write("conftest.py", WEB)
    project.write("test_it.py", "def test_it(web): pass")
    then = f"&& {COMMAND_INSIDE} up && {COMMAND_INSIDE} ps && {COMMAND_INSIDE} down"
    output = run_in_pod(then)
    [told] = re.findall(r"^WEB_ADDRESS=(.+)$", output, re.MULTILINE)
    assert re.search(rf"^  web  running  {re.escape(told)} -> 8000 ", output, re.MULTILINE)


INSIDE_WITHOUT_SERVICES = """
def test_addresses_are_the_pods_own(web, front):
    assert web.exec("hostname", "-i", check=True).stdout.split() == [web.host]
    assert (get(web), get(front, "/fetch/web/8000")) == ("hello", "hello")
    assert (get(front, "/env/PORT"), get(front, "/env/WEB")) == ("8000", "http://web:8000")

def test_a_restart_keeps_the_address(own):
    before = own.address
    own.restart()
    assert (own.address, get(own)) == (before, "hello")

def test_faults(own):
    with own.stopped():
        with pytest.raises(OSError):
            get(own)
    with own.paused():
        pass
    assert get(own) == "hello"

def test_departments(hr, sales):
    assert [get(s.web_server, "/env/NAME") for s in (hr, sales)] == ["hr", "sales"]
    assert get(hr.Front, "/fetch/web_server/8000") == "hello"
    assert sales.web_server.port == 8000
    assert hr.web_server.host != sales.web_server.host

"""


@pytest.mark.usefixtures("arc")
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_without_services_tests_in_a_pod_reach_the_pods_own_addresses(
    project: Project, run_in_pod: Callable[..., str], workers: str
) -> None:
    front = "front = service(web, needs=['web'], env={'PORT': '{self.external_port}', 'WEB': '{web.url}'})"
    project.write("conftest.py", WEB, front, OWN, DEPARTMENTS)
    project.write("test_it.py", GET, INSIDE_WITHOUT_SERVICES)
    assert "4 passed" in run_in_pod(workers)


@pytest.mark.usefixtures("arc")
def test_without_services_addresses_that_are_known_too_late_are_refused_by_name(
    project: Project, api: Api, run_in_pod: Callable[..., str]
) -> None:
    project.write("conftest.py", WEB, "front = service(web, env={'OUTSIDE': '{self.external_address}'})")
    project.write("test_it.py", "def test_it(front): pass")
    output = run_in_pod()
    for text in (
        "cannot run these services as they are declared; no test was run",
        "service 'front'",
        "env.OUTSIDE: {self.external_address}: it cannot tell a container's address before that runs",
        "have the right to make Services: `pytest-isolate kubernetes role` prints the Role to apply",
    ):
        assert text in output
    assert what_is_there(api) == []


@pytest.mark.parametrize("without", ["", "leases"], ids=["lease", "secret"])
def test_when_the_pod_of_a_job_is_deleted_the_cluster_removes_its_run(
    project: Project, api: Api, kubectl: Kubectl, machine: str, without: str
) -> None:
    role, binding = yaml.safe_load_all(project.command("kubernetes", "role").stdout)
    role["rules"] = [rule for rule in role["rules"] if without not in rule["resources"]]
    kubectl("apply", "-f", "-", text=yaml.safe_dump_all([role, binding]))
    project.write("conftest.py", WEB)
    project.write(
        "test_it.py",
        "import time",
        """
        from pathlib import Path
        def test_it(web):
            Path("began").touch()
            time.sleep(600)
        """,
    )
    start_job(project, api, machine, ["sh", "-c", RUN_INSIDE])
    wait_for((project.path / "began").exists, 120, show=lambda: kubectl("logs", "job").stdout)
    uid = api.get("pods/job")["metadata"]["uid"]
    kind = "secrets" if without else "leases"
    runs = [one for one in api.get(kind)["items"] if one["metadata"]["labels"].get("pytest-isolate/kind") == "run"]
    assert [one["metadata"]["ownerReferences"] for one in runs] == [
        [{"apiVersion": "v1", "kind": "Pod", "name": "job", "uid": uid}]
    ]
    kubectl("delete", "pod", "job", "--grace-period=0", "--force")
    # Both have ended with it: the process that would remove all, and the one that would do so in its place.
    wait_for(lambda: not what_is_there(api), 60, show=lambda: what_is_there(api))


def test_the_role_of_the_recipes_is_the_one_that_is_printed(project: Project) -> None:
    printed = project.command("kubernetes", "role", "--namespace=tests", "--service-account=pytest-isolate").stdout
    assert (TESTS.parent / "examples" / "ci" / "kubernetes" / "role.yml").read_text().endswith(printed)
