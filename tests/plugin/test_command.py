"""The command `pytest-isolate`, as far as it needs no engine that outlives it: what it asks pytest, and how it ends."""

from __future__ import annotations

import inspect
import json
import stat
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from fakes.programs import IMAGE, forever

import pytest_isolate.cli.main as command
from plugin.conftest import WEB, Project
from pytest_isolate.cli.doctor import doctor


@pytest.fixture(autouse=True)
def _without_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is installed costs a second for each pytest that the command starts."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:anyio -p no:hypothesispytest -p no:cacheprovider")


def runner() -> CliRunner:
    """One that keeps stdout and stderr apart, which click does by itself from 8.2 on."""
    asks = "mix_stderr" in inspect.signature(CliRunner).parameters
    return CliRunner(**({"mix_stderr": False} if asks else {}))


def run(*args: str) -> Result:
    return runner().invoke(command.main, args)


def services(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [fact["service"] for fact in json.loads(result.stdout)]


# -- up ---------------------------------------------------------------------------------------------------------------


def test_up_without_names_starts_what_conftest_files_and_toml_declare(project: Project) -> None:
    project.conftest(WEB, "hr = stack(web=web, api=service(web, env={'WEB': '{web.url}'}))")
    project.conftest("inner = service(IMAGE, command=forever())", engine="", name="sub/conftest.py")
    project.write("isolate.toml", f"[services.plain]\nimage = '{IMAGE}'\ncommand = {json.dumps(forever())}")
    project.tests("own = service(IMAGE, command=forever())", "def test_own(own): pass")
    assert sorted(services(run("up", "--json"))) == ["hr.api", "hr.web", "inner", "plain", "web"]


def test_up_with_a_name_starts_that_and_what_it_needs(project: Project) -> None:
    project.conftest(WEB, "api = service(web, env={'WEB': '{web.url}'})\nother = service(web)")
    assert services(run("up", "api", "--json")) == ["web", "api"]


def test_up_takes_one_service_out_of_a_stack(project: Project) -> None:
    project.conftest(WEB, "hr = stack(web=web, api=service(web, env={'WEB': '{web.url}'}), other=web)")
    assert services(run("up", "hr.api", "--json")) == ["hr.web", "hr.api"]


def test_up_starts_what_belongs_to_a_test_module_or_a_worker_only_by_name(project: Project) -> None:
    project.conftest(WEB)
    project.tests("own = service(IMAGE, command=forever(), scope='function', share='worker')")
    assert services(run("up", "own", "--json")) == ["own"]


def test_up_says_what_is_declared_where_a_name_is_not(project: Project) -> None:
    project.conftest(WEB)
    result = run("up", "wep")
    assert result.exit_code == 2
    assert "no service or stack 'wep' is declared for this folder, did you mean 'web'?" in result.stderr
    assert "valid  web" in result.stderr
    assert project.journal.is_empty


def test_up_refuses_a_wrong_declaration_as_a_run_does(project: Project) -> None:
    project.conftest("web = service(IMAGE, prot=8000)")
    result = run("up")
    assert result.exit_code == 4
    assert "conftest.py:" in result.stderr
    assert "unknown key 'prot', did you mean 'port'?" in result.stderr


def test_up_shows_what_pytest_says_where_it_cannot_collect(project: Project) -> None:
    project.conftest("import no_such_module")
    result = run("up")
    assert result.exit_code == 4
    assert "No module named 'no_such_module'" in result.stderr


def test_up_goes_on_where_one_service_does_not_start_and_says_why(project: Project) -> None:
    project.conftest(WEB, "bad = service(IMAGE, command=program('say no', 'exit 3'), port=1, ready=tcp())")
    result = run("up", "--json")
    assert result.exit_code == 1
    assert [fact["service"] for fact in json.loads(result.stdout)] == ["web"]
    assert "service 'bad'" in result.stderr
    assert "exited with code 3" in result.stderr


def test_up_does_not_need_tests_that_can_be_imported(project: Project) -> None:
    project.conftest(WEB)
    project.tests("import no_such_module")
    assert services(run("up", "--json")) == ["web"]


def test_up_starts_nothing_for_the_tests_of_a_project_that_isolates_by_default(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(WEB, "hidden = service(web)")
    project.write("pytest.ini", "[pytest]\nisolate = true\naddopts = -n2")
    project.tests("def test_it(hidden): assert False")
    assert services(run("up", "web", "--json")) == ["web"]
    assert project.journal.services == ["web"]


def test_up_says_when_nothing_is_declared(project: Project) -> None:
    project.tests("def test_it(): pass")
    result = run("up")
    assert (result.exit_code, result.output) == (0, "no service is declared in conftest.py files or TOML\n")


def test_a_volume_of_two_services_is_refused(project: Project) -> None:
    project.conftest(WEB, "a = service(web, volumes={'v': '/v'})\nb = service(web, volumes={'v': '/v'})")
    result = run("up")
    assert result.exit_code == 4
    assert "both use the volume 'v'" in result.stderr
    assert services(run("up", "a", "--json")) == ["a"]


# -- secrets ----------------------------------------------------------------------------------------------------------


PASSWORD = "db = service(postgres('16', image=IMAGE, command=program('serve 5432'), ready=tcp(), copies=None))"


def test_passwords_are_shown_only_on_request_and_are_in_the_file(project: Project) -> None:
    project.conftest(PASSWORD)
    hidden, shown = run("up", "--env-file", "e.env"), run("up", "--show-secrets")
    assert "DB_PASSWORD='***'" in hidden.stdout
    assert "postgres:***@127.0.0.1" in hidden.stdout
    path = project.path / "e.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    password = dict(line.split("=", 1) for line in lines)["DB_PASSWORD"]
    assert len(password) == 32
    # The next one up has it too: it comes from the project's secret.
    assert f"DB_PASSWORD={password}" in shown.stdout
    assert password not in hidden.output


def test_secrets_in_json_are_hidden_too(project: Project) -> None:
    project.conftest(PASSWORD)
    facts = json.loads(run("up", "--json").stdout)
    assert facts[0]["env"]["DB_PASSWORD"] == "***"
    assert "***" in facts[0]["url"]
    assert "secrets" not in facts[0]


def test_an_env_file_keeps_what_is_the_users(project: Project) -> None:
    project.conftest(PASSWORD, WEB)
    path = project.path / ".env"
    path.write_text("API_KEY=mine")
    path.chmod(0o644)
    first, second = run("up", "--env-file", ".env"), run("up", "web", "--env-file", ".env")
    assert (first.exit_code, second.exit_code) == (0, 0)
    text = path.read_text()
    assert text.startswith("API_KEY=mine\n# >>> pytest-isolate up >>>")
    assert "WEB_PORT=" in text
    assert "DB_PASSWORD" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "others can read .env, which has passwords in it now: chmod 600 .env" in first.stderr
    assert "others can read" not in second.stderr


def test_an_env_file_that_cannot_have_the_variables_is_refused_before_anything_starts(project: Project) -> None:
    project.conftest(WEB)
    (project.path / "real.env").write_text("API_KEY=mine")
    (project.path / ".env").symlink_to("real.env")
    result = run("up", "--env-file", ".env")
    assert result.exit_code == 2
    assert result.stderr.startswith("the variables cannot be in .env\n  found  it is a link to real.env\n  do ")
    assert project.journal.is_empty
    assert (project.path / "real.env").read_text() == "API_KEY=mine"


def test_an_env_file_is_not_touched_where_nothing_is_up(project: Project) -> None:
    project.conftest(WEB)
    (project.path / ".env").write_text("API_KEY=mine")
    assert run("up", "wep", "--env-file", ".env").exit_code == 2
    assert run("up", "wep", "--env-file", "new.env").exit_code == 2
    assert (project.path / ".env").read_text() == "API_KEY=mine"
    assert not (project.path / "new.env").exists()


# -- plan -------------------------------------------------------------------------------------------------------------


def plan_project(project: Project) -> None:
    project.conftest(WEB, "db = service(web, scope='module')")
    project.tests("def test_a(web): pass\ndef test_b(web, db): pass\ndef test_c(): pass")


@pytest.mark.parametrize("distribution", [(), ("-n2",)])
def test_plan_tells_what_a_selection_would_start(project: Project, distribution: tuple[str, ...]) -> None:
    if distribution:
        pytest.importorskip("xdist")
    plan_project(project)
    result = run("plan", "--json", "-k", "test_a or test_c", *distribution)
    assert result.exit_code == 0, result.output
    (step,) = json.loads(result.stdout)
    assert (step["service"], step["tests"], step["first_test"]) == ("web", 1, "test_it.py::test_a")
    assert project.journal.is_empty


def test_plan_is_printed_as_the_option_prints_it(project: Project) -> None:
    plan_project(project)
    lines = run("plan").stdout.splitlines()
    assert lines[0].split() == ["service", "image", "lives", "for", "needs", "tests", "first", "needed", "by"]
    assert [line.split()[0] for line in lines[1:]] == ["web", "db"]
    assert run("plan", "-k", "test_c").stdout == "no selected test needs a service\n"


def test_plan_ends_with_pytests_own_code_where_it_cannot_be_made(project: Project) -> None:
    plan_project(project)
    result = run("plan", "no/such/path")
    assert result.exit_code == 4
    assert "no/such/path" in result.stderr
    project.tests("import no_such_module")
    result = run("plan")
    assert result.exit_code == 1
    assert "No module named 'no_such_module'" in result.stderr


# -- no engine --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code"),
    [(("ps",), 1), (("logs", "db"), 1), (("exec", "db", "--", "true"), 125), (("down",), 1), (("gc",), 1)],
)
def test_commands_say_where_no_engine_answers(
    monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], code: int, project: Project
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/no.sock")
    result = run(*args)
    assert result.exit_code == code
    assert "no container engine answers" in result.stderr
    assert "no.sock (DOCKER_HOST): no such socket" in result.stderr


def test_up_says_where_no_engine_answers(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    project.conftest(WEB, engine="")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/no.sock")
    result = run("up")
    assert result.exit_code == 1
    assert "no container engine answers" in result.stderr


def test_doctor_finds_a_wrong_docker_host(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/no.sock")
    result = runner().invoke(doctor, ["--json"])
    assert result.exit_code == 1
    facts: dict[str, Any] = json.loads(result.stdout)
    engine = facts["findings"][0]
    assert (engine["check"], engine["verdict"]) == ("engine", "problem")
    assert "no.sock (DOCKER_HOST): no such socket" in engine["found"]
    assert "DOCKER_HOST" in engine["do"]
    assert facts["facts"]["attempts"][0]["answer"] == "no such socket"


def test_doctor_looks_at_the_temp_folder_that_is_meant_even_where_nothing_fits_there(
    monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    full = project.path / "full"
    full.mkdir()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/no.sock")
    monkeypatch.setenv("TMPDIR", str(full))
    assert f"{full}: " in run("doctor").stdout
    monkeypatch.setenv("TMPDIR", str(project.path / "no"))
    assert "/tmp: " in run("doctor").stdout


def test_doctor_takes_a_pool_that_is_one(project: Project) -> None:
    result = run("doctor", "--subnets", "10.0.0.0/33")
    assert result.exit_code == 2
    assert "10.189.0.0/16" in result.stderr


# -- usage ------------------------------------------------------------------------------------------------------------


def test_exec_needs_a_command(project: Project) -> None:
    assert run("exec", "db").exit_code == 2
    assert run("exec", "db", "--").exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_PYTEST_ISOLATE_COMPLETE" in result.stdout
    assert "pytest-isolate" in result.stdout


def test_every_command_says_how_it_ends() -> None:
    for name, one in command.main.commands.items():
        assert "nds with" in (one.help or "") or name == "completion", name


def test_names_are_not_completed_with_an_error(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    from pytest_isolate.cli.find_container import complete_names

    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/no.sock")
    context = click.Context(command.main)
    assert complete_names(context, click.Argument(["name"]), "") == []
