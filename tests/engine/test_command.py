"""The command `pytest-isolate` on the real engine: services by hand from up to down, and what doctor finds."""

from __future__ import annotations

import json
import os
import pty
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from fakes.programs import IMAGE, program
from waiting import wait_for

from engine.conftest import TESTS, Project, _hear_all_signals
from pytest_isolate.model.identity import LABEL_RUN
from pytest_isolate.running.ownership.reuse import manual_code

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

COMMAND = [sys.executable, "-c", "from pytest_isolate.cli.main import main; main(prog_name='pytest-isolate')"]
# Becomes another user when everything is imported: he may not be able to read where this project lies.
AS_NOBODY = """
import os, sys
import pytest_isolate.cli.main as command
import pytest_isolate.engine.docker.diagnose, pytest_isolate.engine.docker.podman, ssl
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
sys.argv[:] = ["pytest-isolate", *sys.argv[1:]]
command.main()
"""
SERVICES = """
web = service(IMAGE, command=program("say hello", "err trouble", "serve 8000 hello"), port=8000, ready=http("/"),
              memory="32m", volumes={"d": "/d"})
hr = stack(web=web)
"""
WAITING = """
import pathlib, time

def test_it(web):
    pathlib.Path("begun").touch()
    while not pathlib.Path("end").exists():
        time.sleep(0.02)
"""


class Shell:
    """The command, run in a project's folder with a cache folder of its own."""

    def __init__(self, project: Project) -> None:
        self.path = project.path
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        self.env = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(self.path / "cache"), **project.env}
        self.env["PYTEST_ADDOPTS"] = "-p no:anyio -p no:hypothesispytest -p no:cacheprovider"

    def run(self, *args: str, code: int = 0, folder: str = ".", **options: Any) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [*COMMAND, *args],
            check=False,
            cwd=self.path / folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=90,
            **options,
        )
        assert result.returncode == code, f"{result.stdout}\n{result.stderr}"
        return result

    def facts(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def own_run(self) -> dict[str, Any] | None:
        """What is up for this project, as ps tells it."""
        return next((r for r in self.facts("ps") if r["run"] == manual_code(str(self.path))), None)

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *args],
            cwd=self.path,
            env=self.env,
            stdout=subprocess.PIPE,
            text=True,
            # Whoever runs these tests in the background lets them, and what they start, ignore some signals.
            preexec_fn=_hear_all_signals,  # noqa: PLW1509  # no other thread forks
            **options,
        )


@pytest.fixture
def shell(project: Project, docker_client: Any) -> Iterator[Shell]:
    """However a test ends, nothing stays up."""
    (project.path / "sub").mkdir()
    shell = Shell(project)
    yield shell
    shell.run("down")
    only = {"label": [f"{LABEL_RUN}={manual_code(str(project.path))}"]}
    assert docker_client.containers(all=True, filters=only) == []
    assert docker_client.networks(filters=only) == []
    assert not docker_client.volumes(filters=only)["Volumes"]


def fetch(address: str) -> str:
    with urlopen(f"http://{address}/", timeout=60) as answer:
        return answer.read().decode()


def test_services_by_hand_from_up_to_down(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES)
    (project.path / "e.env").write_text("API_KEY=mine")
    web, inner = shell.facts("up", "--env-file", "e.env")
    assert [web["service"], inner["service"]] == ["hr.web", "web"]
    assert {fetch(one["addresses"]["8000"]) for one in (web, inner)} == {"hello"}
    address = subprocess.check_output(["sh", "-c", ". ./e.env; echo $HR_WEB_ADDRESS"], cwd=shell.path, text=True)
    assert address.strip() == web["addresses"]["8000"]

    # Nothing of it has changed: what is up is used as it is.
    again = shell.facts("up", "web")
    assert [one["container"] for one in again] == [inner["container"]]

    run = shell.own_run()
    assert run is not None
    assert (run["state"], run["project"], run["process"]) == ("up", str(shell.path), None)
    assert [(c["service"], c["state"]) for c in run["containers"]] == [("hr.web", "running"), ("web", "running")]
    assert [c["addresses"]["8000"] for c in run["containers"]] == [o["addresses"]["8000"] for o in (web, inner)]
    assert (run["networks"], run["volumes"]) == (2, 2)

    logs = shell.run("logs", "web")
    assert (logs.stdout, logs.stderr) == ("hello\n", "trouble\n")
    assert shell.run("logs", web["container"][:12], "--tail", "0").stdout == ""

    command = shell.run("exec", "web", "--", "sh", "-c", "cat; echo bad >&2; exit 7", code=7, input="typed\n")
    assert (command.stdout, command.stderr) == ("typed\n", "bad\n")
    assert "/d" in shell.run("exec", "hr.web", "grep", " /d ", "/proc/mounts").stdout

    # Neither a sweep nor the clean-up of a run takes it away.
    project.tests("def test_it(web): pass")
    project.run("-pno:xdist").assert_outcomes(passed=1)
    fates = {fact["fate"] for fact in shell.facts("gc") if fact["run"] == run["run"]}
    assert fates == {"stays"}
    assert fetch(web["addresses"]["8000"]) == "hello"

    assert shell.run("down", folder="sub").stdout == f"removed 2 services of {shell.path}\n"
    assert shell.own_run() is None
    assert (project.path / "e.env").read_text() == "API_KEY=mine"
    assert shell.run("down").stdout == "nothing is up for this folder\n"


def test_a_changed_declaration_takes_the_place_of_what_is_up(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES)
    (before,) = shell.facts("up", "web")
    project.conftest(SERVICES.replace("serve 8000 hello", "serve 8000 bye"))
    (after,) = shell.facts("up", "web")
    assert before["container"] != after["container"]
    assert fetch(after["addresses"]["8000"]) == "bye"
    run = shell.own_run()
    assert run is not None
    assert [c["id"] for c in run["containers"]] == [after["container"]]


def test_up_starts_what_variables_of_the_project_name(project: Project, shell: Shell) -> None:
    """A conftest.py that reads them is imported before anything has started."""
    project.write(
        "isolate.toml",
        f"""
        [services.web]
        image = "{IMAGE}"
        command = {json.dumps(program("serve 8000 hello"))}
        port = 8000
        ready = {{ http = "/" }}

        [env]
        WEB_URL = "{{web.url}}"
        """,
    )
    project.conftest("import os\nWEB_URL = os.environ['WEB_URL']")
    (web,) = shell.facts("up")
    assert fetch(web["addresses"]["8000"]) == "hello"
    assert shell.facts("up") == [web]
    shell.run("down")


def test_ps_tells_alternatives_apart(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES, "versions = variants(web={'old': {}, 'new': {'env': {'A': 'b'}}})")
    project.tests(WAITING)
    running = project.start("-pno:xdist")
    running.wait_for((project.path / "begun").exists)

    def containers() -> list[dict[str, Any]]:
        return next(r["containers"] for r in shell.facts("ps") if r["process"] == running.process.pid)

    running.wait_for(lambda: len(containers()) == 2)
    assert [c["service"] + c["alternatives"] for c in containers()] == ["web[new]", "web[old]"]
    assert {"web[new]", "web[old]"} <= set(shell.run("ps").stdout.split())
    (project.path / "end").touch()
    running.result().assert_outcomes(passed=2)


def test_a_run_is_shown_while_it_lives(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES)
    project.tests(WAITING)
    running = project.start("-pno:xdist")
    running.wait_for((project.path / "begun").exists)
    (run,) = [r for r in shell.facts("ps") if r["process"] == running.process.pid]
    assert (run["state"], run["project"]) == ("alive", str(project.path))
    assert run["user"]
    (container,) = run["containers"]
    assert shell.run("logs", container["name"]).stdout == "hello\n"
    text = shell.run("ps").stdout
    assert f"process {running.process.pid}, project {project.path}" in text
    (project.path / "end").touch()
    running.result().assert_outcomes(passed=1)


def test_following_a_log_ends_with_the_container(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES)
    (web,) = shell.facts("up", "web")
    following = shell.start("logs", "-f", "web")
    assert following.stdout is not None
    assert following.stdout.readline() == "hello\n"
    shell.run("exec", "web", "--", "sh", "-c", "echo more >/proc/1/fd/1")
    assert following.stdout.readline() == "more\n"
    subprocess.run(["docker", "kill", web["container"]], check=False, capture_output=True)
    shell.run("down")
    assert following.wait(20) == 0
    following.stdout.close()


def test_exec_gives_a_terminal_where_there_is_one(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES)
    shell.run("up", "web")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "exec", "web", "--", "sh"],
        cwd=shell.path,
        env=shell.env,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    os.write(parent, b"test -t 0 && test -t 1 && echo is-a-$((1 + 1))-way-terminal; exit 5\n")
    seen, deadline = b"", time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 1)[0]:
            continue
        try:
            seen += os.read(parent, 1000)
        except OSError:
            break  # the command has ended
    os.close(parent)  # hangs up, where it has not ended
    assert process.wait(30) == 5, seen
    assert b"is-a-2-way-terminal" in seen


def test_commands_that_cannot_be_run_and_names_that_are_not_there(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES)
    shell.run("up", "web")
    assert "no container of ours is called 'wep'" in shell.run("logs", "wep", code=1).stderr
    assert "no container of ours is called 'wep'" in shell.run("exec", "wep", "--", "true", code=125).stderr
    completed = subprocess.run(
        COMMAND,
        check=True,
        cwd=shell.path,
        capture_output=True,
        text=True,
        env={
            **shell.env,
            "_PYTEST_ISOLATE_COMPLETE": "bash_complete",
            "COMP_WORDS": "pytest-isolate logs w",
            "COMP_CWORD": "2",
        },
    )
    assert "plain,web" in completed.stdout.split()


def test_interrupted_up_leaves_what_is_ready_and_tells_of_it(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES, "slow = service(IMAGE, command=program('sleep 600'), ready=log('never'), memory='32m')")
    temporary = project.path / "temporary"
    temporary.mkdir()
    shell.env["TMPDIR"] = str(temporary)
    process = shell.start("up", "--env-file", "e.env", "slow", "web", start_new_session=True)
    wait_for(lambda: len((shell.own_run() or {"containers": ()})["containers"]) == 2, pause_s=0.1)
    wait_for(lambda: any('"kind": "ready"' in path.read_text() for path in temporary.glob("*/answers")))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "WEB_URL=" in output
    run = shell.own_run()
    assert run is not None
    assert [c["service"] for c in run["containers"]] == ["web"]


@pytest.mark.parametrize("victims", ["command", "command and pytest"])
def test_of_a_killed_up_no_folder_stays(project: Project, shell: Shell, victims: str) -> None:
    temporary = project.path / "temporary"
    temporary.mkdir()
    shell.env["TMPDIR"] = str(temporary)
    project.conftest(SERVICES, "slow = service(IMAGE, command=forever(), ready=log('never'), memory='32m', timeout=5)")
    process = shell.start("up", "slow", start_new_session=True)
    wait_for(shell.own_run, pause_s=0.1)
    (asked,) = temporary.glob("pytest-isolate-ask-*")

    if victims == "command":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if victims != "command":
        assert asked.is_dir()
        shell.run("up", "web")

    wait_for(lambda: list(temporary.iterdir()) == [], show=lambda: list(temporary.iterdir()))


# -- doctor -----------------------------------------------------------------------------------------------------------


def findings(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_doctor_finds_this_engine(shell: Shell, docker_client: Any) -> None:
    result = subprocess.run(
        [*COMMAND, "doctor", "--json"], check=False, capture_output=True, text=True, env=shell.env, timeout=60
    )
    found, facts = findings(result), json.loads(result.stdout)["facts"]
    version = docker_client.version()["Version"]
    assert found["engine"]["verdict"] == found["version"]["verdict"] == found["place"]["verdict"] == "ok"
    assert f"Docker {version}" in found["version"]["found"]
    assert facts["engine"]["data_root"] == docker_client.info()["DockerRootDir"]
    assert abs(facts["engine"]["clock_ahead_s"]) < 5
    wrong = [f for f in found.values() if f["verdict"] == "problem"]
    assert result.returncode == (1 if wrong else 0)


def test_doctor_sees_a_pool_fill_up(project: Project, shell: Shell) -> None:
    project.conftest(SERVICES)
    pool = f"10.188.{secrets.randbelow(256)}.{16 * secrets.randbelow(16)}/28"
    shell.env["PYTEST_ADDOPTS"] += f" --isolate-subnets={pool}"
    shell.run("up", "web")
    result = shell.run("doctor", "--json", "--subnets", pool, code=1)
    found = findings(result)["addresses"]
    assert (found["verdict"], "100% in use" in found["found"]) == ("problem", True)
    assert "pytest-isolate gc" in found["do"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_doctor_explains_a_socket_without_the_right_to_it(shell: Shell, tmp_path: Path) -> None:
    env = {**shell.env, "XDG_RUNTIME_DIR": "/run/user/0", "HOME": "/root"}
    result = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "doctor", "--json"],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        cwd="/",
        timeout=60,
    )
    assert result.returncode == 1, result.stderr
    found = findings(result)
    assert found["engine"]["verdict"] == "problem"
    assert "Permission denied" in found["engine"]["found"]
    assert found["rights"]["verdict"] == "problem"
    assert "may not use it" in found["rights"]["found"]
    assert found["rights"]["do"]


def test_doctor_says_what_to_unset(shell: Shell, real_engine: Any) -> None:
    # The engine that answers without it may itself be named by the environment that these tests run in.
    shell.env["DOCKER_HOST"] = f"unix://{shell.path}/no.sock"
    shell.env.pop("DOCKER_CONTEXT", None)
    result = shell.run("doctor", code=1)
    shell.env["DOCKER_HOST"] = real_engine.facts().address
    assert "no.sock (DOCKER_HOST): no such socket" in result.stdout
    assert "DOCKER_HOST" in result.stdout.partition("do: ")[2]
