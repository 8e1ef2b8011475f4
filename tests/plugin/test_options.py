"""Every option, on the command line and in the configuration: each test fails when its option is ignored."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from plugin.conftest import WEB, Project, errors_of


def one_service(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): assert web.port")


def write_ini(project: Project, *lines: str) -> None:
    project.write("pytest.ini", "\n".join(["[pytest]", *lines]))


def test_isolate_starts_what_tests_need(project: Project) -> None:
    one_service(project)
    project.run().assert_outcomes(passed=1)
    assert project.journal.services == ["web"]
    project.journal.assert_nothing_is_left()


def test_ini_isolate_is_as_good_as_the_option(project: Project) -> None:
    one_service(project)
    write_ini(project, "isolate = true")
    project.run(isolate=False).assert_outcomes(passed=1)
    assert project.journal.services == ["web"]


def test_ini_isolate_false_starts_nothing(project: Project) -> None:
    one_service(project)
    write_ini(project, "isolate = false")
    project.run(isolate=False).assert_outcomes(skipped=1)
    assert project.journal.is_empty


def test_plan_is_printed_and_nothing_runs(project: Project) -> None:
    project.conftest(
        """
        db = service(IMAGE, command=forever())
        web = service(IMAGE, command=forever(), env={"DB": "{db.host}"}, scope="session")
        lone = service(IMAGE, command=forever(), scope="function")
        """
    )
    project.tests("def test_a(web): pass\ndef test_b(web): pass\ndef test_c(lone): pass\ndef test_d(): pass")
    result = project.run("--isolate-plan", isolate=False)
    assert result.ret == 0
    lines = [line.split() for line in result.outlines]
    start = lines.index(["isolate:", "plan"])
    assert [line[0] for line in lines[start + 1 : start + 5]] == ["service", "db", "web", "lone"]
    assert lines[start + 2] == ["db", "debian:bookworm-slim", "session", "-", "2", "test_it.py::test_a"]
    assert lines[start + 3] == ["web", "debian:bookworm-slim", "session", "db", "2", "test_it.py::test_a"]
    assert lines[start + 4][:5] == ["lone", "debian:bookworm-slim", "function", "test_it.py::test_c", "-"]
    assert "passed" not in result.stdout.str()
    assert project.journal.is_empty


def test_plan_covers_only_the_selected_tests(project: Project) -> None:
    project.conftest("a = service(IMAGE, command=forever())\nb = service(IMAGE, command=forever())")
    project.tests("def test_a(a): pass\ndef test_b(b): pass\ndef test_c(): pass")
    planned = project.run("--isolate-plan", "-k", "test_b").stdout.str()
    assert "test_it.py::test_b" in planned
    assert "test_it.py::test_a" not in planned
    assert "no selected test needs a service" in project.run("--isolate-plan", "-k", "test_c").stdout.str()


def test_plan_of_a_stack_lists_its_services(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever())\nhr = stack(web=web, other=web)")
    project.tests("def test_hr(hr): pass")
    planned = project.run("--isolate-plan").stdout.str()
    assert "hr.web " in planned
    assert "hr.other " in planned


def test_plan_says_what_is_wrong(project: Project) -> None:
    project.conftest("web = service(IMAGE, prot=8000)")
    project.tests("def test_web(web): pass")
    assert project.run("--isolate-plan").ret == pytest.ExitCode.USAGE_ERROR


def subnets(project: Project) -> list[str]:
    return [args[1] for args in project.journal.calls("create_network")]


def test_networks_come_from_the_default_pool(project: Project) -> None:
    one_service(project)
    project.run()
    (subnet,) = subnets(project)
    assert ip_network(subnet).subnet_of(ip_network("10.189.0.0/16"))


@pytest.mark.parametrize("where", ["option", "ini"])
def test_networks_come_from_the_pool_that_is_named(project: Project, where: str) -> None:
    one_service(project)
    if where == "ini":
        write_ini(project, "isolate_subnets = 10.77.1.16/28")
        project.run().assert_outcomes(passed=1)
    else:
        project.run("--isolate-subnets=10.77.1.16/28").assert_outcomes(passed=1)
    assert subnets(project) == ["10.77.1.16/28"]


def test_option_wins_over_the_ini(project: Project) -> None:
    one_service(project)
    write_ini(project, "isolate_subnets = 10.77.1.16/28", "isolate_bind = 127.0.0.2")
    project.run("--isolate-subnets=10.77.2.16/28", "--isolate-bind=127.0.0.3").assert_outcomes(passed=1)
    assert subnets(project) == ["10.77.2.16/28"]
    assert project.journal.requests[0]["ports"][0]["host_ip"] == "127.0.0.3"


@pytest.mark.parametrize("value", ["10.0.0.0/29", "10.0.0.1/16", "fd00::/64", "everything"])
def test_pool_that_is_none_is_refused(project: Project, value: str) -> None:
    one_service(project)
    result = project.run(f"--isolate-subnets={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join(errors_of(result))
    assert f"--isolate-subnets={value}" in text
    assert "10.189.0.0/16" in text
    assert project.journal.is_empty


def test_pool_that_is_full_is_told_with_the_service_and_the_way_out(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever())\na = stack(web=web)\nb = stack(web=web)")
    project.tests("def test_a(a): pass\ndef test_b(b): pass")
    result = project.run("--isolate-subnets=10.77.1.16/28")
    result.assert_outcomes(passed=1, errors=1)
    text = result.stdout.str()
    assert "no free subnet for the network of stack" in text
    assert "a /28 in 10.77.1.16/28" in text
    assert "--isolate-subnets=10.200.0.0/16" in text
    project.journal.assert_nothing_is_left()


def test_ports_are_published_on_this_host_only(project: Project) -> None:
    one_service(project)
    project.tests("def test_web(web): assert web.host == '127.0.0.1'")
    project.run().assert_outcomes(passed=1)
    assert project.journal.requests[0]["ports"][0]["host_ip"] == "127.0.0.1"


@pytest.mark.parametrize("where", ["option", "ini"])
def test_ports_are_published_on_the_address_that_is_named(project: Project, where: str) -> None:
    one_service(project)
    project.tests("def test_web(web): assert web.host == '127.0.0.9'")
    if where == "ini":
        write_ini(project, "isolate_bind = 127.0.0.9")
        project.run().assert_outcomes(passed=1)
    else:
        project.run("--isolate-bind=127.0.0.9").assert_outcomes(passed=1)
    assert project.journal.requests[0]["ports"][0]["host_ip"] == "127.0.0.9"


def test_ports_on_every_address_are_reached_on_loopback(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_web(web): assert web.host == '127.0.0.1'")
    project.run("--isolate-bind=0.0.0.0").assert_outcomes(passed=1)
    assert project.journal.requests[0]["ports"][0]["host_ip"] == "0.0.0.0"


@pytest.mark.parametrize("value", ["localhost", "::1", "127.0.0.300"])
def test_address_that_is_none_is_refused(project: Project, value: str) -> None:
    one_service(project)
    result = project.run(f"--isolate-bind={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--isolate-bind={value}: not an IPv4 address" in "\n".join(errors_of(result))


def test_address_of_another_host_is_refused(project: Project) -> None:
    one_service(project)
    result = project.run("--isolate-bind=192.0.2.1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join(errors_of(result))
    assert "ports cannot be published on 192.0.2.1" in text
    assert "name an address of this host" in text


def test_options_are_described_in_the_help(project: Project) -> None:
    text = project.run("--help", isolate=False).stdout.str()
    for option in ("--isolate ", "--isolate-plan", "--isolate-subnets=CIDR", "--isolate-bind=ADDRESS"):
        assert option in text
    for ini in ("isolate (bool)", "isolate_subnets (string)", "isolate_bind (string)"):
        assert ini in text


# -- looking without running --------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--fixtures", "--fixtures-per-test"])
def test_run_that_only_looks_starts_nothing(project: Project, option: str) -> None:
    one_service(project)
    result = project.run(option)
    assert result.ret == 0
    assert project.journal.is_empty


def test_fixtures_says_what_a_service_is(project: Project) -> None:
    one_service(project)
    result = project.run("--fixtures", isolate=False)
    result.stdout.fnmatch_lines(
        [
            "web [[]session scope[]]*",
            "*Service in a container: debian:bookworm-slim, port 8000 (declared at *conftest.py:*",
        ]
    )


def test_setup_only_and_setup_show_start_services(project: Project) -> None:
    one_service(project)
    result = project.run("--setup-show")
    result.assert_outcomes(passed=1)
    assert project.journal.services == ["web"]


def test_collection_errors_start_nothing(project: Project) -> None:
    one_service(project)
    project.tests("raise RuntimeError('broken')", name="test_broken.py")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert project.journal.is_empty


def test_collection_errors_that_are_passed_over_start_services(project: Project) -> None:
    one_service(project)
    project.tests("raise RuntimeError('broken')", name="test_broken.py")
    project.run("--continue-on-collection-errors").assert_outcomes(passed=1, errors=1)
    project.journal.assert_nothing_is_left()


def test_deselected_tests_start_nothing(project: Project) -> None:
    one_service(project)
    project.tests("def test_web(web): pass\ndef test_none(): pass")
    project.run("-k", "none").assert_outcomes(passed=1, deselected=1)
    assert project.journal.is_empty


# -- the other distribution ---------------------------------------------------------------------------------------


def test_other_distribution_of_a_similar_name_is_refused_with_one_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = project.path / "site" / "pytest_isolate-0.0.13.dist-info"
    project.write(f"site/{info.name}/METADATA", "Metadata-Version: 2.1\nName: pytest-isolate\nVersion: 0.0.13\n")
    monkeypatch.setenv("PYTHONPATH", str(project.path / "site"), prepend=":")
    project.tests("def test_none(): pass")
    result = project.run_subprocess(isolate=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert "uninstall pytest-isolate" in text
    assert "Traceback" not in text
    assert sum("both pytest-isolate and pytest-isolate-containers" in line for line in text.splitlines()) == 1


@pytest.mark.parametrize("in_worker", [False, True])
def test_the_plan_names_tests_that_may_ask_for_more_while_they_run(project: Project, in_worker: bool) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=forever())
        def hand_over(request): return request.getfixturevalue("web")

        @pytest.fixture
        def client(request): return request.getfixturevalue("web")

        @pytest.fixture
        def handed(request): return hand_over(request)

        @pytest.fixture(params=[1])
        def plain(request, tmp_path):
            request.addfinalizer(print)
            return request.param
        """
    )
    project.tests(
        """
        def test_planned(web, tmp_path, plain): pass
        def test_itself(request): request.getfixturevalue("web")
        def test_inner(request): return [request.getfixturevalue(name) for name in ("web",)] and None
        def test_by_a_fixture(client): pass
        def test_by_a_function(handed): pass
        def test_node(request): assert request.node
        """
    )
    project.write("test_page.txt", ">>> getfixture('web').name\n'web'\n")
    project.write("test_plain.txt", ">>> 1\n1\n")
    options = ("--isolate-plan", "--doctest-glob=*.txt")
    result = project.run_xdist(*options, workers=1) if in_worker else project.run(*options)
    asking = [f"test_it.py::test_{name}" for name in ("itself", "inner", "by_a_fixture", "by_a_function")]
    line = "not known before they run, so not in this plan: what request.getfixturevalue() or getfixture() asks for in "
    assert f"  {line}{', '.join([*asking, 'test_page.txt::test_page.txt'])}" in result.outlines
    assert "not in this plan" not in project.run("--isolate-plan", "-k", "planned or node").stdout.str()


def test_the_plan_of_a_project_without_services_names_nothing(project: Project) -> None:
    project.tests("def test_itself(request): request.getfixturevalue('tmp_path')")
    assert "not in this plan" not in project.run("--isolate-plan").stdout.str()
