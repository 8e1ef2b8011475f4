"""Commands of kubectl for those who go on by hand."""

from __future__ import annotations

import shlex
import subprocess

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.kubernetes.objects.kubectl_commands import KubectlCommands

COMMANDS = KubectlCommands("team", "kind-kind")
KUBECTL = "kubectl --context kind-kind -n team"
POD = "db-1-68150cfc45bd"


def test_commands_name_context_and_namespace() -> None:
    assert COMMANDS.enter(POD) == f"{KUBECTL} exec -it {POD} -- sh"
    assert COMMANDS.run_inside(POD, "psql -U app", "PGPASSWORD=x") == (
        f"{KUBECTL} exec -it {POD} -- env PGPASSWORD=x psql -U app"
    )
    assert COMMANDS.read_variable(POD, "PASSWORD") == f"{KUBECTL} exec {POD} -- printenv PASSWORD"
    assert COMMANDS.logs(POD) == f"{KUBECTL} logs {POD}"
    assert COMMANDS.copy_out(POD) == f"{KUBECTL} cp {POD}:/PATH ."
    assert KubectlCommands("team").logs(POD) == f"kubectl -n team logs {POD}"


def test_the_name_of_a_container_leads_to_its_pod() -> None:
    assert COMMANDS.logs("db-1") == f"{KUBECTL} logs {POD}"


def test_what_was_stopped_is_started_by_the_first_process() -> None:
    assert COMMANDS.start(POD) == f"{KUBECTL} exec -i {POD} -- /.isolate/first ask {POD} start"


def test_a_word_of_a_program_is_read_from_its_secret() -> None:
    command = COMMANDS.read_argument(POD, 1)
    kubectl, _, rest = command.partition(" | ")
    assert kubectl == f"{KUBECTL} get secret {POD} -o jsonpath='{{.data.words}}'"
    words = "cmVkaXMtc2VydmVyAC0tcmVxdWlyZXBhc3MAcwA="  # redis-server, --requirepass, s
    done = subprocess.run(["sh", "-c", f"printf %s {words} | {rest}"], capture_output=True, text=True, check=True)
    assert done.stdout == "--requirepass\n"


def test_a_container_is_run_by_hand_without_what_is_hidden() -> None:
    request = ContainerRequest(
        name="db", image="postgres:16", labels={}, env={"USER": "app", "PASSWORD": "sesame"}, command=["-c", "x=a b"]
    )
    words = shlex.split(COMMANDS.run(request, hidden=["PASSWORD"]))
    assert words[5:7] == ["run", words[6]]
    assert words[9:] == ["--image=postgres:16", "--env=USER=app", "--env=PASSWORD=...", "--", "-c", "x=a b"]


def test_all_of_a_run_is_removed_by_its_labels() -> None:
    (command,) = COMMANDS.remove({"pytest-isolate.run": "3f2a", "pytest-isolate.worker": "gw1"})
    labels = "pytest-isolate.run=3f2a,pytest-isolate.worker=gw1"
    assert command == f"{KUBECTL} delete pods,secrets,leases -l {labels}"
