"""@pytest.mark.isolate(...) and override(...): a service changed for single tests, beside the unchanged one."""

from __future__ import annotations

import pytest

from plugin.conftest import Project
from plugin.test_fixtures import GET
from pytest_isolate import ServiceChanges
from pytest_isolate.declarations.keys import LASTING_KEYS, SERVICE_KEYS

SERVICES = """
db = service(IMAGE, command=program("serve 8000 db"), port=8000, ready=http("/"), env={"REALM": "head-office"})
auth = service(
    IMAGE,
    command=program("serve 8000 auth"),
    port=8000,
    ready=http("/"),
    env={"REALM": "head-office", "DB": "{db.host}"},
)
"""


def test_marker_changes_a_service_for_its_test_only(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests(
        GET,
        """
        def test_before(auth): assert get(auth, "/env/REALM") == "head-office"

        @pytest.mark.isolate(auth={"env": {"REALM": "lab"}})
        def test_lab(auth, db):
            assert get(auth, "/env/REALM") == "lab"
            assert get(auth, "/fetch/db/8000") == "db"

        def test_after(auth): assert get(auth, "/env/REALM") == "head-office"
        """,
    )
    project.run().assert_outcomes(passed=3)
    # What the change does not reach is shared.
    assert sorted(project.journal.services) == ["auth", "auth", "db"]
    project.journal.assert_nothing_is_left()


def test_what_depends_on_a_changed_service_has_an_instance_of_its_own(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests(
        GET,
        """
        def test_plain(auth): assert get(auth, "/fetch/db/8000") == "db"

        @pytest.mark.isolate(db={"command": program("serve 8000 other")})
        def test_other(auth): assert get(auth, "/fetch/db/8000") == "other"
        """,
    )
    project.run().assert_outcomes(passed=2)
    assert sorted(project.journal.services) == ["auth", "auth", "db", "db"]


def test_equal_overrides_share_their_instance_wherever_they_stand(project: Project) -> None:
    project.conftest(SERVICES)
    marked = "@pytest.mark.isolate(db={{'memory': {memory}}})\ndef test_{name}(db): pass"
    project.tests(marked.format(name="a", memory="'64m'"))
    project.tests(marked.format(name="b", memory=64 * 1024**2), name="test_other.py")
    project.tests("@override(db={'memory': '64m'})\ndef test_c(db): pass", name="inner/test_third.py")
    project.run().assert_outcomes(passed=3)
    assert project.journal.services == ["db"]


def test_override_that_changes_nothing_shares_the_declared_instance(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests("def test_a(db): pass\n@override(db={'env': {'REALM': 'head-office'}})\ndef test_b(db): pass")
    project.run().assert_outcomes(passed=2)
    assert project.journal.services == ["db"]


def test_nested_markers_merge_and_the_nearest_wins(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests(
        """
        pytestmark = pytest.mark.isolate(db={"env": {"A": "module", "B": "module", "C": "module", "REALM": None}})

        @override(db={"env": {"B": "class", "C": "class"}})
        class TestIt:
            @pytest.mark.isolate(db={"env": {"C": "test"}})
            def test_it(self, db):
                env = {key: db.env.get(key) for key in ("A", "B", "C", "REALM")}
                assert env == {"A": "module", "B": "class", "C": "test", "REALM": None}
        """
    )
    project.run().assert_outcomes(passed=1)


def test_fixtures_on_a_changed_service_are_made_anew(project: Project) -> None:
    project.conftest(
        SERVICES,
        GET,
        """
        @pytest.fixture(scope="session")
        def realm(auth): return get(auth, "/env/REALM")
        """,
    )
    project.tests(
        """
        def test_a(realm): assert realm == "head-office"

        @override(auth={"env": {"REALM": "lab"}})
        def test_b(realm): assert realm == "lab"

        def test_c(realm): assert realm == "head-office"
        """
    )
    project.run().assert_outcomes(passed=3)


def test_override_reaches_stacks_whole_and_by_name(project: Project) -> None:
    project.conftest(
        SERVICES,
        """
        hr = stack(db=db, auth=service(auth, env={"REALM": "hr"}))
        sales = stack(db=db, auth=service(auth, env={"REALM": "sales"}))
        """,
    )
    project.tests(
        GET,
        """
        @override(hr={"auth": {"env": {"REALM": "lab"}}})
        def test_one(hr, sales, auth):
            realms = [get(one, "/env/REALM") for one in (hr.auth, sales.auth, auth)]
            assert realms == ["lab", "sales", "head-office"]

        @override(auth={"env": {"DEBUG": "1"}})
        def test_all(hr, sales, auth):
            assert [get(one, "/env/DEBUG") for one in (hr.auth, sales.auth, auth)] == ["1", "1", "1"]
            assert get(hr.auth, "/env/REALM") == "hr"
        """,
    )
    project.run().assert_outcomes(passed=2)
    # Three databases serve both tests.
    assert sorted(project.journal.services) == ["auth"] * 6 + ["db"] * 3


def test_services_of_a_stack_with_its_own_address_stay_together(project: Project) -> None:
    project.conftest(
        """
        hr = stack(
            db=service(IMAGE, command=program("serve 18471 db"), port=18471, ready=http("/")),
            auth=service(IMAGE, command=program("serve 18472 auth"), port=18472, ready=http("/")),
            ports="native",
        )
        """
    )
    project.tests(
        """
        def test_plain(hr): assert hr.db.host == hr.auth.host

        @override(hr={"auth": {"env": {"REALM": "lab"}}})
        def test_lab(hr): assert hr.db.host == hr.auth.host
        """
    )
    project.run().assert_outcomes(passed=2)
    assert len({request["network"] for request in project.journal.requests}) == 2


def test_services_that_share_a_volume_stay_together(project: Project) -> None:
    project.conftest(
        """
        uploads = {"uploads": "/srv/uploads"}
        web = service(IMAGE, command=forever(), volumes=uploads)
        worker = service(IMAGE, command=forever(), volumes=uploads)
        """
    )
    project.tests(
        """
        def test_plain(web, worker): pass

        @override(web={"cpus": 1})
        def test_changed(web, worker): pass
        """
    )
    project.run().assert_outcomes(passed=2)
    mounts = {request["network"]: set() for request in project.journal.requests}
    for request in project.journal.requests:
        mounts[request["network"]] |= set(request["volumes"])
    assert sorted(project.journal.services) == ["web", "web", "worker", "worker"]
    assert [len(volumes) for volumes in mounts.values()] == [1, 1]
    assert len(set().union(*mounts.values())) == 2


def test_override_and_variants_go_together(project: Project) -> None:
    project.conftest(SERVICES, "versions = variants(db={'a': {'env': {'N': 'a'}}, 'b': {'env': {'N': 'b'}}})")
    project.tests(
        """
        @override(db={"env": {"REALM": "lab"}})
        def test_both(auth, db, versions):
            assert (db.env["N"], db.env["REALM"]) == (versions["db"], "lab")

        def test_plain(db, versions):
            assert (db.env["N"], db.env["REALM"]) == (versions["db"], "head-office")

        @override(auth={"env": {"DB": None}})
        def test_no_longer_reached(auth): pass
        """
    )
    result = project.run("-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*test_no_longer_reached PASSED*"])


def test_parameter_can_be_marked(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests(
        """
        lab = pytest.param("lab", marks=override(db={"env": {"REALM": "lab"}}))

        @pytest.mark.parametrize("realm", ["head-office", lab])
        def test_it(db, realm): assert db.env["REALM"] == realm
        """
    )
    project.run().assert_outcomes(passed=2)


def test_plan_tells_a_changed_service_apart(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests("def test_a(db): pass\n@override(db={'cpus': 1})\ndef test_b(db): pass")
    result = project.run("--isolate-plan")
    result.stdout.fnmatch_lines(["  service  variant *", "  db       -  *test_a", "  db       db~????????  *test_b"])


def test_marker_is_known_and_harmless_without_isolate(project: Project) -> None:
    project.tests("@pytest.mark.isolate(nothing={'x': 1})\ndef test_it(): pass")
    project.run("--strict-markers", isolate=False).assert_outcomes(passed=1)
    project.run("--markers", isolate=False).stdout.fnmatch_lines(["@pytest.mark.isolate(service={key: value}): *"])


@pytest.mark.parametrize("form", ["override", "pytest.mark.isolate"])
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            "dbb={'cpus': 1}",
            "isolate(dbb) (for test_it.py::test_it): unknown service or stack 'dbb', did you mean 'db'?",
        ),
        ("db={'cpu': 1}", "db.cpu (for test_it.py::test_it): unknown key 'cpu', did you mean 'cpus'?"),
        ("db={'cpus': 'many'}", "db.cpus (for test_it.py::test_it): 'many' is not a share of processors"),
        ("db='x:1'", "isolate(db) (for test_it.py::test_it): 'x:1' does not say what changes"),
        (
            "db={'scope': 'module'}",
            "isolate(db.scope) (for test_it.py::test_it): belongs to the fixture, not to a test",
        ),
        ("db={'env': {'X': '{mai.url}'}}", "db.env.X (for test_it.py::test_it): unknown service 'mai' in {mai.url}"),
        ("hr={'dbb': {}}", "isolate(hr) (for test_it.py::test_it): unknown service 'dbb', did you mean 'db'?"),
        ("hr=1", "isolate(hr) (for test_it.py::test_it): 1 does not say what changes in a stack"),
    ],
)
def test_wrong_override_is_refused_before_anything_starts(
    project: Project, form: str, arguments: str, reason: str
) -> None:
    project.conftest(SERVICES, "hr = stack(db=db)")
    project.tests(f"\n\n@{form}({arguments})\ndef test_it(db): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = (project.path / "test_it.py").read_text().splitlines().index(f"@{form}({arguments})") + 1
    assert f"test_it.py:{line}: {reason}" in "\n".join(result.errlines)
    assert project.journal.is_empty


def test_value_without_a_name_is_refused(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests(
        "@pytest.mark.isolate('db')\nclass TestIt:\n    def test_a(self, db): pass\n    def test_b(self, db): pass"
    )
    result = project.run()
    text = "\n".join(result.errlines)
    assert "isolate() (for test_it.py::TestIt::test_a): 'db' names no service" in text
    assert "test_b" not in text


def test_every_mistake_is_told_at_once(project: Project) -> None:
    project.conftest(SERVICES)
    project.tests("@override(db={'cpu': 1})\ndef test_a(db): pass\n@override(db={'memry': 1})\ndef test_b(db): pass")
    text = "\n".join(project.run().errlines)
    assert "2 wrong declarations" in text
    assert "test_a" in text
    assert "test_b" in text


def test_workers_share_nothing_by_mistake(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(SERVICES, "db = service(db, share='worker')\nauth = service(auth, share='worker')")
    project.tests(
        """
        @pytest.mark.parametrize("n", range(4))
        def test_plain(db, n): assert db.env["REALM"] == "head-office"

        @pytest.mark.parametrize("n", range(4))
        @override(db={"env": {"REALM": "lab"}})
        def test_lab(db, n): assert db.env["REALM"] == "lab"
        """
    )
    project.run_xdist().assert_outcomes(passed=8)
    project.journal.assert_nothing_is_left()


def test_type_checkers_know_every_key_that_a_test_can_change() -> None:
    assert set(ServiceChanges.__annotations__) == set(SERVICE_KEYS) - set(LASTING_KEYS)
