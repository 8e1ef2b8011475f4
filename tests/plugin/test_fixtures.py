"""Services and stacks are ordinary fixtures: they are wrapped, overridden and found as pytest users are used to."""

from __future__ import annotations

import pytest

from plugin.conftest import WEB, Project

GET = """
from urllib.request import urlopen

def get(service, path="/"):
    with urlopen(f"http://{service.address}{path}", timeout=60) as answer:
        return answer.read().decode()
"""


def test_test_gets_a_running_service(project: Project) -> None:
    project.conftest(WEB)
    project.tests(GET, "def test_web(web): assert get(web) == 'hello'")
    project.run().assert_outcomes(passed=1)
    project.journal.assert_nothing_is_left()


def test_service_of_the_session_is_started_once_for_all_tests(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_a(web): pass\ndef test_b(web): pass", name="test_one.py")
    project.tests("def test_c(web): pass", name="test_two.py")
    project.run().assert_outcomes(passed=3)
    assert project.journal.services == ["web"]


def test_service_that_no_selected_test_asks_for_is_not_started(project: Project) -> None:
    project.conftest(WEB, "lone = service(IMAGE, command=forever())")
    project.tests("def test_web(web): pass")
    project.run().assert_outcomes(passed=1)
    assert project.journal.services == ["web"]


def test_service_can_be_declared_in_a_test_module(project: Project) -> None:
    project.tests(WEB, "def test_web(web): assert web.name == 'web'")
    project.run().assert_outcomes(passed=1)


def test_service_can_be_wrapped_by_a_fixture(project: Project) -> None:
    project.conftest(
        WEB,
        """
        @pytest.fixture
        def client(web):
            return f"client of {web.address}"
        """,
    )
    project.tests("def test_client(client, web): assert client == f'client of {web.address}'")
    project.run().assert_outcomes(passed=1)
    assert project.journal.services == ["web"]


def test_fixture_that_overrides_a_service_and_asks_for_it_wraps_it(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        """
        @pytest.fixture
        def web(web):
            yield {"wrapped": web.name}

        def test_web(web): assert web == {"wrapped": "web"}
        """
    )
    project.run().assert_outcomes(passed=1)
    assert project.journal.services == ["web"]


def test_fixture_that_overrides_a_service_without_asking_for_it_replaces_it(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        """
        @pytest.fixture
        def web(): return "stub"

        def test_web(web): assert web == "stub"
        """
    )
    project.run().assert_outcomes(passed=1)
    assert project.journal.is_empty
    project.run(isolate=False).assert_outcomes(passed=1)


def test_value_of_parametrize_replaces_a_service(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        """
        @pytest.mark.parametrize("web", ["stub"])
        def test_web(web): assert web == "stub"
        """
    )
    project.run().assert_outcomes(passed=1)
    assert project.journal.is_empty
    project.run(isolate=False).assert_outcomes(passed=1)


def test_parametrized_tests_share_their_service(project: Project) -> None:
    project.conftest(WEB)
    project.tests("@pytest.mark.parametrize('n', [1, 2, 3])\ndef test_web(web, n): pass")
    project.run().assert_outcomes(passed=3)
    assert project.journal.services == ["web"]


def test_autouse_and_usefixtures_start_services(project: Project) -> None:
    project.conftest("a = service(IMAGE, command=forever())\nb = service(IMAGE, command=forever())")
    project.tests(
        """
        @pytest.fixture(autouse=True)
        def always(a): yield

        @pytest.mark.usefixtures("b")
        def test_both(): pass
        """
    )
    project.run().assert_outcomes(passed=1)
    assert sorted(project.journal.services) == ["a", "b"]


def test_getfixturevalue_starts_a_service_when_it_is_asked(project: Project) -> None:
    project.conftest(WEB)
    project.tests(GET, "def test_web(request): assert get(request.getfixturevalue('web')) == 'hello'")
    project.run().assert_outcomes(passed=1)
    project.journal.assert_nothing_is_left()


def test_nearest_declaration_counts(project: Project) -> None:
    """Each folder's tests get the service of their own conftest.py, the others that of the root."""
    project.conftest("web = service(IMAGE, command=program('serve 8000 root'), port=8000)")
    nested = "web = service(IMAGE, command=program('serve 8000 nested'), port=8000)"
    project.conftest(nested, name="sub/conftest.py", engine="")
    project.tests(GET, "def test_root(web): assert get(web) == 'root'")
    project.tests(GET, "def test_nested(web): assert get(web) == 'nested'", name="sub/test_nested.py")
    project.run().assert_outcomes(passed=2)
    assert project.journal.services == ["web", "web"]
    project.journal.assert_nothing_is_left()


def test_reference_means_what_is_visible_where_it_is_written(project: Project) -> None:
    """A folder that overrides `db` does not change which `db` the root's `web` uses."""
    project.conftest(
        """
        db = service(IMAGE, command=forever(), env={"WHERE": "root"})
        web = service(IMAGE, command=forever(), env={"DB": "{db.env.WHERE}"})
        """
    )
    project.conftest(
        """
        db = service(IMAGE, command=forever(), env={"WHERE": "nested"})
        own = service(IMAGE, command=forever(), env={"DB": "{db.env.WHERE}"})
        """,
        name="sub/conftest.py",
        engine="",
    )
    project.tests(
        """
        def test_it(web, own, db):
            assert web.env["DB"] == "root"
            assert own.env["DB"] == "nested"
            assert db.env["WHERE"] == "nested"
        """,
        name="sub/test_it.py",
    )
    project.run().assert_outcomes(passed=1)
    assert sorted(project.journal.services) == ["db", "db", "own", "web"]


def test_class_may_override_by_an_ordinary_fixture(project: Project) -> None:
    project.conftest(WEB)
    project.tests(
        """
        class TestStub:
            @pytest.fixture
            def web(self): return "stub"
            def test_web(self, web): assert web == "stub"

        class TestReal:
            def test_web(self, web): assert web.port
        """
    )
    project.run().assert_outcomes(passed=2)
    assert project.journal.services == ["web"]


def test_service_declared_in_a_class_is_refused_with_a_reason(project: Project) -> None:
    project.tests(
        """
        class TestIt:
            web = service(IMAGE, command=forever())
            def test_web(self, web): pass
        """
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert "test_it.py:9: web: declared in the class TestIt" in text
    assert "declare it in the module or a conftest.py" in text
    assert project.journal.is_empty


def test_installed_plugin_may_declare_services_and_a_project_override_them(project: Project) -> None:
    project.write(
        "shared_services.py",
        """
        from fakes.programs import IMAGE, forever
        from pytest_isolate import service

        web = service(IMAGE, command=forever(), env={"FROM": "plugin"})
        cache = service(IMAGE, command=forever(), env={"FROM": "plugin"})
        """,
    )
    project.conftest("cache = service(IMAGE, command=forever(), env={'FROM': 'project'})")
    project.tests(
        """
        def test_it(web, cache):
            assert (web.env["FROM"], cache.env["FROM"]) == ("plugin", "project")
        """
    )
    project.pytester.syspathinsert()
    project.run("-p", "shared_services").assert_outcomes(passed=1)
    assert sorted(project.journal.services) == ["cache", "web"]


def test_one_declaration_under_two_names_gives_two_services(project: Project) -> None:
    project.conftest(WEB, "twin = service(web)")
    project.tests("def test_it(web, twin): assert web.port != twin.port")
    project.run().assert_outcomes(passed=1)
    assert sorted(project.journal.services) == ["twin", "web"]


def test_changed_copy_keeps_the_rest(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=forever(), env={"A": "1", "B": "2"}, memory="64m")
        copy = service(web, env={"B": "3", "C": "4"})
        """
    )
    project.tests("def test_it(copy): assert copy.env == {'A': '1', 'B': '3', 'C': '4'}")
    project.run().assert_outcomes(passed=1)
    assert project.journal.requests[0]["memory_bytes"] == 64 * 1024**2


# -- stacks -------------------------------------------------------------------------------------------------------


def test_stacks_hold_the_same_names_side_by_side(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 8000"), port=8000, env={"REALM": "none"})
        hr = stack(web=service(web, env={"REALM": "hr"}))
        sales = stack(web=service(web, env={"REALM": "sales"}))
        """
    )
    project.tests(
        GET,
        """
        def test_it(hr, sales, web):
            found = [get(s, "/env/REALM") for s in (hr.web, sales.web, web)]
            assert found == ["hr", "sales", "none"]
            assert hr["web"].address == hr.web.address
            assert list(hr) == ["web"]
            assert "web" in dir(hr)
        """,
    )
    project.run().assert_outcomes(passed=1)
    project.journal.assert_nothing_is_left()
    assert len({args[1] for args in project.journal.calls("create_network")}) == 3


def test_unknown_member_of_a_stack_names_the_known_ones(project: Project) -> None:
    project.conftest(WEB, "hr = stack(web=web)")
    project.tests(
        """
        def test_it(hr):
            with pytest.raises(AttributeError, match="stack 'hr' has no service 'wbe'; it has web"):
                hr.wbe
        """
    )
    project.run().assert_outcomes(passed=1)


def test_neighbours_are_found_by_their_plain_names(project: Project) -> None:
    project.conftest(
        """
        db = service(IMAGE, command=program("serve 5432 rows"), port=5432)
        web = service(IMAGE, command=program("serve 8000"), port=8000, env={"DB": "{db.host}:{db.port}"})
        hr = stack(db=db, web=web)
        lone = stack(web=service(web, env={"DB": "none"}))
        """
    )
    project.tests(
        GET,
        """
        def test_it(hr, lone, web):
            assert hr.web.env == {"DB": "db:5432"}
            assert get(hr.web, "/fetch/db/5432") == "rows"
            assert get(web, "/fetch/db/5432") == "rows"
            assert hr.web.exec(*program("fetch db 5432")).stdout == "rows\\n"
            assert lone.web.exec(*program("fetch db 5432")).exit_code == 1
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_native_ports_are_the_same_inside_and_outside_on_an_address_of_its_own(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 18080"), port=18080, env={"REALM": "none"})
        hr = stack(web=service(web, env={"REALM": "hr"}), ports="native")
        sales = stack(web=service(web, env={"REALM": "sales"}), ports="native")
        """
    )
    project.tests(
        GET,
        """
        def test_it(hr, sales):
            assert hr.web.port == sales.web.port == 18080
            assert hr.web.host != sales.web.host
            assert get(hr.web, "/env/REALM") == "hr"
            assert get(sales.web, "/env/REALM") == "sales"
        """,
    )
    project.run().assert_outcomes(passed=1)
    hosts = {request["ports"][0]["host_ip"] for request in project.journal.requests}
    assert len(hosts) == 2
    assert all(host.startswith("127.") and not host.startswith("127.0.") for host in hosts)


# -- scopes -------------------------------------------------------------------------------------------------------

SCOPED = """
web = service(IMAGE, command=forever(), scope={scope!r})
seen = []

def note(web):
    seen.append(web.container_id)
"""


@pytest.mark.parametrize(("scope", "count"), [("session", 1), ("module", 2), ("class", 3), ("function", 6)])
def test_scope_decides_how_many_there_are(project: Project, scope: str, count: int) -> None:
    project.conftest(f"web = service(IMAGE, command=forever(), scope={scope!r})")
    module = """
        class TestOne:
            def test_a(self, web): pass
            def test_b(self, web): pass
        """
    project.tests(module, "class TestTwo:\n    def test_c(self, web): pass\n    def test_d(self, web): pass")
    project.tests(module, name="test_other.py")
    project.run().assert_outcomes(passed=6)
    assert len(project.journal.requests) == count
    project.journal.assert_nothing_is_left()


def test_package_scope_is_the_folder_of_the_declaring_conftest(project: Project) -> None:
    for folder in ("one", "two"):
        project.write(f"{folder}/__init__.py", "")
        declares = "web = service(IMAGE, command=forever(), scope='package')"
        project.conftest(declares, name=f"{folder}/conftest.py", engine="")
        for name in ("test_a", "test_b"):
            project.tests(f"def {name}(web): pass", name=f"{folder}/{name}.py")
    project.run().assert_outcomes(passed=4)
    assert len(project.journal.requests) == 2
    project.journal.assert_nothing_is_left()


@pytest.mark.parametrize("scope", ["function", "class", "module"])
def test_what_belongs_to_an_ended_place_is_removed_before_the_run_ends(project: Project, scope: str) -> None:
    project.conftest(f"web = service(IMAGE, command=forever(), volumes={{'data': '/data'}}, scope={scope!r})")
    project.tests("class TestOne:\n    def test_a(self, web): pass")
    project.tests("def test_b(): pass", name="test_other.py")
    project.run().assert_outcomes(passed=2)
    names = [entry.get("call") for entry in project.journal.entries()]
    removed = [name for name in names if name in ("remove_container", "remove_network", "remove_volume")]
    assert sorted(removed) == ["remove_container", "remove_network", "remove_volume"]
    assert names.index("remove_container") < names.index("list_containers")
    project.journal.assert_nothing_is_left()


def test_place_that_is_entered_again_gets_its_services_again(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=forever(), volumes={"data": "/data"}, scope="module")

        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: item.name)
        """
    )
    project.tests("def test_1(web): pass\ndef test_3(web): pass", name="test_a.py")
    project.tests("def test_2(web): pass", name="test_b.py")
    project.run().assert_outcomes(passed=3)
    assert len(project.journal.requests) == 3
    project.journal.assert_nothing_is_left()


def test_unittest_classes_and_doctests_have_services_too(project: Project) -> None:
    project.conftest(
        "web = service(IMAGE, command=forever())\nown = service(IMAGE, command=forever(), scope='function')"
    )
    project.tests(
        """
        import unittest

        @pytest.mark.usefixtures("web", "own")
        class TestIt(unittest.TestCase):
            def test_a(self): pass
            def test_b(self): pass
        """
    )
    project.write("test_page.txt", ">>> getfixture('web').name\n'web'\n")
    project.run("--doctest-glob=*.txt").assert_outcomes(passed=3)
    assert sorted(project.journal.services) == ["own", "own", "web"]
    project.journal.assert_nothing_is_left()


def test_each_test_of_function_scope_has_its_own_container(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=forever(), scope="function")
        """
    )
    project.tests(
        """
        seen = set()

        @pytest.mark.parametrize("n", [1, 2, 3])
        def test_it(web, n):
            assert web.container_id not in seen
            seen.add(web.container_id)
        """
    )
    project.run().assert_outcomes(passed=3)


def test_stack_of_function_scope_is_new_for_each_test(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever())\nhr = stack(web=web, scope='function')")
    project.tests("def test_a(hr): pass\ndef test_b(hr): pass")
    project.run().assert_outcomes(passed=2)
    assert len(project.journal.requests) == 2
    assert len(project.journal.calls("create_network")) == 2


def test_narrow_service_uses_a_wide_one(project: Project) -> None:
    project.conftest(
        """
        db = service(IMAGE, command=program("serve 5432 rows"), port=5432)
        web = service(IMAGE, command=forever(), env={"DB": "{db.url}"}, scope="function")
        """
    )
    project.tests(
        """
        def fetch(web): return web.exec(*program("fetch db 5432"), check=True).stdout
        def test_a(web): assert fetch(web) == "rows\\n"
        def test_b(web): assert fetch(web) == "rows\\n"
        """
    )
    project.run().assert_outcomes(passed=2)
    assert sorted(project.journal.services) == ["db", "web", "web"]
    # The wide one is taken off a narrow one's network, which another test's services may then live on.
    names = [entry.get("call") for entry in project.journal.entries()]
    assert names.count("attach") == names.count("detach") == 2
    project.journal.assert_nothing_is_left()


def test_tests_that_need_no_service_do_not_wait_for_those_that_do(project: Project) -> None:
    """The service gets ready only when the first test says so; a test that waited for it would never end."""
    project.conftest(
        """
        web = service(IMAGE, command=forever(), ready=log("go"), timeout=20)

        def pytest_isolate_engine(config):
            config.fake = open_fake()
            return config.fake
        """,
        engine="",
    )
    project.tests(
        """
        import time

        def test_first(request):
            fake = request.config.fake
            while not any(c.is_running for c in fake.containers.values()): time.sleep(0.01)
            for container in fake.containers.values():
                container.log.append((time.time(), "stdout", "go\\n"))

        def test_second(web): pass
        """
    )
    project.run().assert_outcomes(passed=2)


AHEAD = """
import json
from pathlib import Path
from waiting import wait_for

def starts():
    lines = Path("journal.jsonl").read_text().splitlines()
    return sum(json.loads(line).get("call") == "start_container" for line in lines)

def test_one(web): wait_for(lambda: starts() >= %d)
def test_two(web): pass
def test_three(web): pass
def test_four(): pass
"""


@pytest.mark.parametrize(("distribution", "at_once"), [("-pno:xdist", 3), ("-n1", 2)])
def test_what_the_next_tests_need_starts_while_one_runs(project: Project, distribution: str, at_once: int) -> None:
    project.conftest('web = service(IMAGE, command=program("serve 8000 hello"), port=8000, scope="function")')
    project.tests(AHEAD % at_once)
    run = project.run if distribution == "-pno:xdist" else project.run_xdist
    run(distribution).assert_outcomes(passed=4)
    assert len(project.journal.requests) == 3
    project.journal.assert_nothing_is_left()


def test_what_is_ahead_leaves_to_the_running_test_what_it_may_need(project: Project) -> None:
    project.conftest('web = service(IMAGE, command=program("serve 8000 hello"), port=8000, scope="function")')
    project.tests(AHEAD % 1)
    project.run("--isolate-max-containers=1").assert_outcomes(passed=4)
    assert len(project.journal.requests) == 3
