"""Variants: tests that reach a varied service run once for each alternative, side by side, with readable ids."""

from __future__ import annotations

import re

import pytest

from plugin.conftest import WEB, Project, errors_of
from plugin.test_fixtures import GET

DB = """
def serving(text):
    return {"command": program(f"serve 8000 {text}")}

db = service(IMAGE, command=program("serve 8000 declared"), port=8000, ready=http("/"))
versions = variants(db={"old": serving("old"), "new": serving("new")})
"""
AUTH = """
auth = service(
    IMAGE, command=program("serve 8000 auth"), port=8000, ready=http("/"), env={"DB": "{db.address}"}
)
"""


def passed(result: pytest.RunResult) -> list[str]:
    """The tests that have passed, in their order."""
    return [line.split(" ")[0].partition("::")[2] for line in result.outlines if " PASSED" in line]


def test_test_runs_once_for_each_alternative(project: Project) -> None:
    project.conftest(DB)
    project.tests(
        GET,
        """
        def test_it(db, versions):
            assert get(db) == versions["db"]

        def test_other(): pass
        """,
    )
    result = project.run("-v")
    result.assert_outcomes(passed=3)
    assert sorted(passed(result)) == ["test_it[db=new]", "test_it[db=old]", "test_other"]
    assert project.journal.services == ["db", "db"]
    project.journal.assert_nothing_is_left()


def test_tests_that_reach_it_through_services_stacks_and_fixtures_run_for_each_too(project: Project) -> None:
    project.conftest(
        DB,
        AUTH,
        WEB,
        """
        hr = stack(db=db, auth=auth)

        @pytest.fixture(scope="session")
        def client(auth):
            return auth.env["DB"]
        """,
    )
    project.tests(
        """
        def test_service(auth): pass
        def test_stack(hr): pass
        def test_fixture(client): assert client == "db:8000"
        def test_none(web): pass
        """
    )
    result = project.run("-v")
    result.assert_outcomes(passed=7)
    assert sorted(passed(result)) == [
        "test_fixture[db=new]",
        "test_fixture[db=old]",
        "test_none",
        "test_service[db=new]",
        "test_service[db=old]",
        "test_stack[db=new]",
        "test_stack[db=old]",
    ]


def test_alternatives_do_not_meet_and_share_what_neither_reaches(project: Project) -> None:
    project.conftest(DB, AUTH, WEB, "auth = service(auth, needs=['web'])")
    project.tests(
        GET,
        """
        def test_it(auth, web, versions):
            assert get(auth, "/fetch/db/8000") == versions["db"]
            assert get(auth, "/fetch/web/8000") == "hello"
        """,
    )
    project.run().assert_outcomes(passed=2)
    assert sorted(project.journal.services) == ["auth", "auth", "db", "db", "web"]
    networks = {request["labels"]["pytest-isolate.service"]: set() for request in project.journal.requests}
    for request in project.journal.requests:
        networks[request["labels"]["pytest-isolate.service"]].add(request["network"])
    assert len(networks["db"]) == 2
    assert networks["db"] == networks["auth"]
    assert len(networks["web"]) == 1
    project.journal.assert_nothing_is_left()


def test_fixtures_on_a_varied_service_are_made_for_each_alternative_and_others_once(project: Project) -> None:
    project.conftest(
        DB,
        WEB,
        GET,
        """
        @pytest.fixture(scope="session")
        def text(db):
            print("MADE text")
            return get(db)

        @pytest.fixture(scope="session")
        def lasting(web):
            print("MADE lasting")
        """,
    )
    project.tests(
        """
        def test_a(text, lasting, versions): assert text == versions["db"]
        def test_b(text, lasting, versions): assert text == versions["db"]
        def test_c(lasting): pass
        """
    )
    result = project.run("-s")
    result.assert_outcomes(passed=5)
    assert result.stdout.str().count("MADE text") == 2
    assert result.stdout.str().count("MADE lasting") == 1


TWO = """
shop = service(IMAGE, command=program("serve 8000 shop"), port=8000, needs=["db", "mail"])
mail = service(IMAGE, command=program("serve 8000 mail"), port=8000)
db = service(IMAGE, command=program("serve 8000 db"), port=8000)
"""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("product", ["db=a,mail=x", "db=a,mail=y", "db=b,mail=x", "db=b,mail=y"]),
        ("zip", ["db=a,mail=x", "db=b,mail=y"]),
    ],
)
def test_alternatives_of_two_services_are_combined(project: Project, mode: str, expected: list[str]) -> None:
    project.conftest(
        TWO,
        f"""
        def two(*names):
            return {{name: {{"env": {{"N": name}}}} for name in names}}

        v = variants(mode={mode!r}, db=two("a", "b"), mail=two("x", "y"))
        """,
    )
    project.tests(
        """
        def test_db(db, v): assert db.env["N"] == v["db"]
        def test_shop(shop, db, mail, v): assert (db.env["N"], mail.env["N"]) == (v["db"], v["mail"])
        """
    )
    result = project.run("-v")
    result.assert_outcomes(passed=2 + len(expected))
    assert sorted(passed(result)) == ["test_db[db=a]", "test_db[db=b]", *(f"test_shop[{one}]" for one in expected)]


def test_ids_are_those_of_images_presets_services_and_changes(project: Project) -> None:
    project.conftest(
        WEB,
        """
        other = service(web, env={"OTHER": "1"})
        kinds = variants(web=[
            web,
            other,
            "registry.example:5000/team/web:1.2",
            {"image": "debian:trixie"},
            {"env": {"REALM": "lab"}},
            service(build="services/next"),
            postgres("15"),
            {"command": program("serve 8000 a rather long text, which is too long for the name of anything")},
        ])
        """,
    )
    project.tests("def test_it(web): pass")
    result = project.run("--collect-only", "-q", isolate=False)
    assert [line for line in result.outlines if "::" in line] == [
        f"test_it.py::test_it[web={name}]"
        for name in ["web", "other", "web-1.2", "debian-trixie", "REALM-lab", "next", "postgres-15", "8"]
    ]


def test_users_own_parameters_come_first(project: Project) -> None:
    project.conftest(DB)
    project.tests("@pytest.mark.parametrize('n', [1, 2])\ndef test_it(db, n): pass")
    result = project.run("-v", "-k", "2 and new")
    assert passed(result) == ["test_it[2-db=new]"]
    assert project.journal.services == ["db"]


def test_last_failed_runs_the_alternative_that_failed(project: Project) -> None:
    project.conftest(DB)
    project.tests("def test_it(db, versions): assert versions['db'] == 'old'")
    project.pytester.runpytest_inprocess("--isolate").assert_outcomes(passed=1, failed=1)
    result = project.pytester.runpytest_inprocess("--isolate", "--lf", "-v")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*::test_it?db=new? FAILED*"])


def test_without_isolate_each_is_skipped_under_its_own_id(project: Project) -> None:
    project.conftest(DB, AUTH)
    project.tests("def test_it(auth): pass")
    result = project.run("-v", isolate=False)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*test_it?db=old? SKIPPED*", "*test_it?db=new? SKIPPED*"])


def test_variants_of_a_module_are_for_its_tests(project: Project) -> None:
    project.conftest("db = service(IMAGE, command=forever(), env={'N': 'declared'})")
    project.tests("versions = variants(db=[{'env': {'N': '1'}}])", "def test_a(db): assert db.env['N'] == '1'")
    project.tests("def test_b(db): assert db.env['N'] == 'declared'", name="test_other.py")
    result = project.run("-v")
    assert sorted(passed(result)) == ["test_a[db=N-1]", "test_b"]


def test_nearest_variants_count(project: Project) -> None:
    project.conftest(
        "db = service(IMAGE, command=forever())\nmail = service(IMAGE, command=forever())",
        "v = variants(db={'a': {}, 'b': {'cpus': 1}}, mail={'x': {}})",
    )
    project.tests("w = variants(db={'c': {}})", "def test_it(db, mail): pass", name="inner/test_it.py")
    result = project.run("-v")
    assert passed(result) == ["test_it[mail=x,db=c]"]


def test_alternative_may_need_what_another_does_not(project: Project) -> None:
    project.conftest(
        DB,
        "auth = service(IMAGE, command=forever())",
        "kinds = variants(auth={'lone': {}, 'bound': {'needs': ['db']}})",
    )
    project.tests("def test_it(auth): pass")
    result = project.run("-v")
    expected = ["test_it[auth=bound,db=new]", "test_it[auth=bound,db=old]", "test_it[auth=lone]"]
    assert sorted(passed(result)) == expected


def test_service_asked_for_by_its_name_only_is_the_first_alternative(project: Project) -> None:
    project.conftest(DB)
    project.tests(GET, "def test_it(request): assert get(request.getfixturevalue('db')) == 'old'")
    result = project.run("-v")
    assert passed(result) == ["test_it"]


CASES = """
import unittest

class TestIt(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def given(self, auth): self.auth = auth
    def test_method(self): assert self.auth

def test_late(request): request.getfixturevalue("db")
def test_each(db): pass
def test_none(request): pass
"""


@pytest.mark.parametrize("in_worker", [False, True])
def test_the_end_names_what_ran_with_the_first_alternative_only(project: Project, in_worker: bool) -> None:
    project.conftest(DB, AUTH)
    project.tests(CASES)
    project.write("test_page.txt", ">>> getfixture('db').name\n'db'\n")
    option = "--doctest-glob=*.txt"
    result = project.run_xdist(option, workers=1) if in_worker else project.run(option)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        [
            "isolate: only with db=old ran test_it.py::TestIt::test_method, test_it.py::test_late, "
            "test_page.txt::test_page.txt: pytest cannot run methods of unittest.TestCase, doctests and what calls "
            "request.getfixturevalue() once for each alternative; --isolate-variant chooses another one"
        ]
    )
    assert result.stdout.str().count("only with") == 1


def test_nothing_is_said_where_one_alternative_is_chosen(project: Project) -> None:
    project.conftest(DB, AUTH)
    project.tests(CASES)
    result = project.run("--isolate-variant=db=new")
    result.assert_outcomes(passed=4)
    assert "only with" not in result.stdout.str()


def test_service_asked_for_by_name_beside_is_that_of_the_test(project: Project) -> None:
    project.conftest(DB, AUTH)
    project.tests(
        GET, "def test_it(auth, request, versions): assert get(request.getfixturevalue('db')) == versions['db']"
    )
    project.run().assert_outcomes(passed=2)
    assert sorted(project.journal.services) == ["auth", "auth", "db", "db"]


@pytest.mark.parametrize("scope", ["function", "class", "module", "package"])
def test_narrow_scopes_have_alternatives_too(project: Project, scope: str) -> None:
    project.conftest(DB, AUTH, f"db = service(db, scope={scope!r})\nauth = service(auth, scope={scope!r})")
    project.tests(
        GET,
        """
        class TestIt:
            def test_a(self, auth, db, versions): assert get(auth, "/fetch/db/8000") == get(db) == versions["db"]
            def test_b(self, auth, db, versions): assert get(auth, "/fetch/db/8000") == get(db) == versions["db"]
        """,
    )
    project.run().assert_outcomes(passed=4)
    project.journal.assert_nothing_is_left()


def test_the_end_says_how_each_variant_went(project: Project) -> None:
    project.conftest(DB)
    project.tests(
        """
        def test_a(db): pass
        def test_b(db, versions): assert versions["db"] == "old"
        """
    )
    result = project.run()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["isolate: variant db=new: 1 passed, 1 failed", "isolate: variant db=old: 2 passed"])


def test_the_summary_tells_them_apart(project: Project) -> None:
    project.conftest(DB, AUTH, WEB)
    project.tests("def test_a(auth, db, web): pass\ndef test_b(db): pass")
    result = project.run("-v")
    result.assert_outcomes(passed=4)
    shown = result.stdout.str()
    (started,) = [line for line in result.outlines if line.startswith("isolate: 5 services on ")]
    assert sorted(started.rpartition(": ")[2].split(", ")) == [
        "auth[db=new]", "auth[db=old]", "db[new]", "db[old]", "web",
    ]  # fmt: skip
    # Instances, and tests.
    for name, instances, tests in (("db[old]", 1, 2), ("db[new]", 1, 2), ("auth[db=old]", 1, 1), ("web", 1, 2)):
        assert re.search(rf"^  {re.escape(name)} +{instances} +\d\.\d s +{tests}\b", shown, re.MULTILINE), shown


def test_the_plan_tells_them_apart(project: Project) -> None:
    project.conftest(DB, WEB)
    project.tests("def test_it(db, web): pass")
    result = project.run("--isolate-plan")
    result.stdout.fnmatch_lines(
        [
            "  service  variant  image * lives for  *",
            "  db       db=old   debian:bookworm-slim  session * 1 *test_it?db=old?",
            "  web      -        debian:bookworm-slim  session * 2 *",
            "  db       db=new   debian:bookworm-slim  session * 1 *test_it?db=new?",
        ]
    )


def test_workers_have_the_same_ids(project: Project) -> None:
    pytest.importorskip("xdist")
    # The fake engine lives in each process, so what workers share is tested with a real one.
    project.conftest(DB, "db = service(db, share='worker')")
    project.tests(
        GET,
        """
        @pytest.mark.parametrize("n", range(4))
        def test_it(db, versions, n, worker_id): assert get(db) == versions["db"]
        """,
    )
    result = project.run_xdist()
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["isolate: variant db=new: 4 passed", "isolate: variant db=old: 4 passed"])
    project.journal.assert_nothing_is_left()


# -- the command line -------------------------------------------------------------------------------------------------


def collected(project: Project, *args: str) -> list[str]:
    result = project.run("--collect-only", "-q", *args)
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def test_command_line_narrows_by_name(project: Project) -> None:
    project.conftest(DB)
    project.tests("def test_it(db): pass")
    assert collected(project, "--isolate-variant=db=new") == ["test_it[db=new]"]
    assert collected(project, "--isolate-variant=db=new", "--isolate-variant=db=old") == [
        "test_it[db=old]",
        "test_it[db=new]",
    ]


def test_command_line_brings_an_image(project: Project) -> None:
    project.conftest(DB)
    project.tests("def test_it(db): assert db.image == PULLABLE")
    result = project.run("-v", "--isolate-variant=db=registry.invalid/pullable:1")
    assert passed(result) == ["test_it[db=pullable-1]"]


def test_command_line_varies_what_has_no_variants(project: Project) -> None:
    project.conftest(WEB)
    project.tests("def test_it(web): assert web.image == PULLABLE")
    result = project.run("-v", "--isolate-variant=web=registry.invalid/pullable:1")
    assert passed(result) == ["test_it[web=pullable-1]"]


@pytest.mark.parametrize(
    ("option", "lines"),
    [
        ("dbb=new", ["*unknown service 'dbb', did you mean 'db'?*", "*valid*db*"]),
        (
            "db=neww",
            ["*'db' has no alternative 'neww', did you mean 'new'?*", "*valid*old, new, an image with its tag*"],
        ),
        ("db", ["*--isolate-variant=db: names no alternative of a service*"]),
        ("=x", ["*--isolate-variant==x: names no alternative of a service*"]),
    ],
)
def test_command_line_that_names_nothing_is_refused(project: Project, option: str, lines: list[str]) -> None:
    project.conftest(DB)
    project.tests("def test_it(db): pass")
    result = project.run(f"--isolate-variant={option}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    pytest.LineMatcher([*errors_of(result), *result.errlines]).fnmatch_lines(lines)
    assert project.journal.is_empty


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("dbb=['x:1']", "unknown service 'dbb', did you mean 'db'?"),
        ("db='x:1'", "'x:1' is not a list of alternatives"),
        ("db=[]", "[] is not a list of alternatives"),
        ("db=[7]", "7 is not an alternative of a service"),
        ("db=['x:1', 'x:1']", "two alternatives are called 'x-1'"),
        ("db={'a b': 'x:1'}", "'a b' cannot name an alternative"),
        ("db=[{'imag': 'x:1'}]", "unknown key 'imag', did you mean 'image'?"),
        ("db=[{'scope': 'module'}]", "belongs to the service"),
        ("db=['x:1'], mode='zipp'", "'zipp' is not a way to combine alternatives, did you mean 'zip'?"),
        ("db=['x:1'], web=['x:1', 'x:2'], mode='zip'", "needs as many alternatives of each service (db: 1, web: 2)"),
        ("", "variants of nothing"),
        ("db=[{'needs': ['web']}], web=[{'needs': ['db']}]", "in a circle"),
    ],
)
def test_wrong_variants_are_refused_before_anything_starts(project: Project, declared: str, reason: str) -> None:
    project.conftest("db = service(IMAGE, command=forever())", WEB, f"versions = variants({declared})")
    project.tests("def test_it(web): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(reason in line for line in result.errlines), result.errlines
    assert any("conftest.py:" in line for line in result.errlines)
    assert project.journal.is_empty


def test_two_declarations_for_one_service_are_refused(project: Project) -> None:
    project.conftest(DB, "more = variants(db=['x:1'])")
    project.tests("def test_it(db): pass")
    result = project.run()
    assert any("'db' has variants already, declared at conftest.py:" in line for line in result.errlines)


def test_ids_without_isolate_cost_no_import_of_what_runs_services(project: Project) -> None:
    declared = "from pytest_isolate import service, variants\ndb = service('db:1')\nv = variants(db=['db:2', 'db:3'])\n"
    (project.path / "conftest.py").write_text(declared)
    (project.path / "test_it.py").write_text(
        "import sys\n"
        "def test_it(db): pass\n"
        "def test_imports():\n"
        "    loaded = {name.partition('.')[2].partition('.')[0] for name in sys.modules if 'pytest_isolate.' in name}\n"
        "    assert loaded == {'declarations', 'errors', 'model', 'planning', 'plugin'}\n"
        "    assert not {'docker', 'psutil', 'filelock', 'pytest_isolate.plugin.session'} & set(sys.modules)\n"
    )
    project.run_subprocess("-p", "no:xdist", isolate=False).assert_outcomes(passed=1, skipped=2)


def test_alternatives_count_in_the_budget_as_long_as_they_live(project: Project) -> None:
    project.conftest(DB)
    project.tests("def test_it(db): pass")
    result = project.run("--isolate-max-containers=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("and 2 containers; the budget is" in line for line in result.errlines)
    project.conftest(DB, "db = service(db, scope='function')")
    project.run("--isolate-max-containers=1").assert_outcomes(passed=2)
