"""Containers of testcontainers as services, on the fake engine: no engine of Docker is there to be asked."""

from __future__ import annotations

import pytest
from fakes.engine import LastingEngine

from plugin.conftest import Project, errors_of

# Also for the runs in this process: each would import it anew otherwise.
pytest.importorskip("testcontainers.core.wait_strategies")
# A module as its authors write them: settings in the constructor and in _configure(), something done behind the start,
# and methods that tell where it is.
SHOP = """
from pathlib import Path
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import ExecWaitStrategy, LogMessageWaitStrategy

class Shop(DockerContainer):
    def __init__(self, image=IMAGE, realm="north", steps=(), **more):
        super().__init__(image, **more)
        self.username, self.password, self.dbname, self.realm = "ann", "a/b", "shop", realm
        self.port = 8000
        self.with_exposed_ports(9000, self.port)
        self.with_command(program("say ready", *steps, "serve 8000 hello", "serve 9000 metrics"))
        self.waiting_for(LogMessageWaitStrategy("ready"))

    def _configure(self):
        self.with_env("REALM", self.realm).with_env("LITERAL", "{other.url}")

    def start(self):
        self.before = "set before the start"
        super().start()
        with open("starts.txt", "a") as file:
            print(self.get_exposed_port(self.port), file=file)
        return self

    def get_connection_url(self, host=None):
        address = f"{host or self.get_container_host_ip()}:{self.get_exposed_port(self.port)}"
        return f"shop://{self.username}:{self.password}@{address}/{self.dbname}"

def fetch(url):
    from urllib.request import urlopen
    with urlopen(url) as answer:
        return answer.read().decode()
"""


def declare(project: Project, *declared: str) -> None:
    project.conftest(SHOP, *declared)


def starts(project: Project) -> list[str]:
    file = project.path / "starts.txt"
    return file.read_text().split() if file.exists() else []


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks Docker's own engine fails."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")


def test_a_module_has_its_own_methods_beside_those_of_a_service(project: Project) -> None:
    declare(
        project,
        """
        web = service(Shop, env={"MORE": "{asker.host}", "REALM2": "x"}, memory="64m")
        asker = service(IMAGE, command=forever())
        told = {"URL": "{web.url}", "USER": "{web.user}", "PW": "{web.password}"}
        client = service(IMAGE, command=forever(), env=told)
        """,
    )
    project.tests(
        """
        from conftest import Shop, fetch

        def test_it(web, client):
            assert web.get_connection_url() == f"shop://ann:a/b@127.0.0.1:{web.port}/shop" == web.url
            assert web.get_connection_url(host="h") == f"shop://ann:a/b@h:{web.port}/shop"
            assert (web.user, web.password, web.database, web.realm) == ("ann", "a/b", "shop", "north")
            assert web.get_exposed_port(8000) == web.port_of(8000) == web.port
            assert web.get_exposed_port(9000) == web.port_of(9000) != web.port
            assert web.get_container_host_ip() == web.host
            assert fetch(f"http://{web.address}/env/REALM") == "north"
            assert fetch(f"http://{web.address}/env/LITERAL") == "{other.url}"
            assert fetch(f"http://{web.address}/env/MORE") == "asker"
            assert web.inside.url == "shop://ann:a/b@web:8000/shop"
            assert client.env == {"URL": web.inside.url, "USER": "ann", "PW": "a/b"}

        def test_the_module(web):
            assert isinstance(web, ModuleService) and isinstance(web, Service)
            assert isinstance(web.module, Shop) and web.module.port == 8000
            assert web.module.get_wrapped_container().id == web.container_id
            assert web.get_wrapped_container().status == "running"
            assert web.module.exec("echo hello you").output == b"hello you\\n"
            assert web.get_logs() == (b"ready\\n", b"")
            assert "get_connection_url" in dir(web) and "port_of" in dir(web) and "with_env" not in dir(web)
        """
    )
    project.run().assert_outcomes(passed=2)
    project.journal.assert_nothing_is_left()
    assert len(starts(project)) == 1


def test_an_object_a_class_and_a_function_are_taken(project: Project) -> None:
    """Only an object has asked an engine when it was made; a version that is given keeps it from that here."""
    declare(
        project,
        """
        import functools

        one = service(Shop(docker_client_kw={"version": "1.41"}))
        two = service(functools.partial(Shop, realm="south"))
        three = service(lambda: Shop(realm="east"), scope="module")
        copied = service(two, env={"MORE": "yes"})
        both = stack(a=Shop, b=lambda: Shop(realm="west"))
        """,
    )
    project.tests(
        """
        def test_it(one, two, three, copied, both):
            all_of_them = [one, two, three, copied, both.a, both.b]
            assert [s.env["REALM"] for s in all_of_them] == ["north", "south", "east", "south", "north", "west"]
            assert [s.realm for s in all_of_them] == [s.env["REALM"] for s in all_of_them]
            assert len({s.get_connection_url() for s in all_of_them}) == 6
            assert copied.env["MORE"] == "yes"
        """
    )
    project.run().assert_outcomes(passed=1)
    project.journal.assert_nothing_is_left()


def test_without_isolate_nothing_is_made_and_a_plan_asks_no_engine(project: Project) -> None:
    declare(
        project,
        """
        def make():
            Path("made.txt").write_text("yes")
            return Shop()

        web = service(make)
        """,
    )
    project.tests("def test_it(web): pass")
    project.run(isolate=False).assert_outcomes(skipped=1)
    project.run("--fixtures", isolate=False).stdout.fnmatch_lines(["*Service in a container: made by make*"])
    assert not (project.path / "made.txt").exists()
    result = project.run("--isolate-plan")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*web*"])
    assert (project.path / "made.txt").exists()


def test_testcontainers_is_imported_for_modules_only(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever())")
    project.tests("import sys\ndef test_it(web): assert not any(m.startswith('testcontainers') for m in sys.modules)")
    project.run_subprocess().assert_outcomes(passed=1)


def test_workers_share_one_module_which_one_of_them_starts(project: Project) -> None:
    declare(project, "web = service(Shop)")
    # Nobody asks the service: the fake engine, and all that is on it, ends with the worker that has started it.
    project.tests(
        """
        @pytest.mark.parametrize("number", range(6))
        def test_it(web, number):
            assert web.get_connection_url() == web.url
            assert web.before == "set before the start"
            assert web.get_wrapped_container().id == web.container_id
        """
    )
    project.run_xdist().assert_outcomes(passed=6)
    assert len(project.journal.requests) == 1
    assert len(starts(project)) == 1


def test_a_module_that_is_kept_is_met_by_the_next_run(project: Project, lasting: LastingEngine) -> None:
    project.conftest(SHOP, "web = service(Shop)", engine="")
    project.tests("def test_it(web): assert web.get_connection_url() == web.url")
    for _ in range(2):
        project.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=1)
    assert len(starts(project)) == 1
    assert len(lasting.containers) == 1


def test_variants_of_a_module(project: Project) -> None:
    """A module takes the place of the preset or module that a service is based on; what that changes about it stays."""
    declare(
        project,
        """
        web = service(Shop, env={"MORE": "kept"})
        south = lambda: Shop(realm="south")
        kinds = variants(web={"south": south, "lab": {"env": {"REALM": "lab"}}, "plain": redis(image=IMAGE)})
        single = variants(other=[Shop])
        other = service(redis(), env={"MORE": "kept"})
        """,
    )
    project.tests(
        """
        def test_web(web):
            assert (web.env.get("REALM"), web.env["MORE"]) in (("south", "kept"), ("lab", "kept"))
            assert web.get_connection_url().startswith("shop://")

        def test_other(other):
            assert other.get_connection_url() == other.url
            assert other.env["MORE"] == "kept"
        """
    )
    result = project.run("-v", "-k", "south or lab or other")
    result.assert_outcomes(passed=3, deselected=1)
    result.stdout.fnmatch_lines(["*test_web[[]web=south]*", "*test_web[[]web=lab]*"])
    result.stdout.fnmatch_lines(["*test_other[[]other=debian-bookworm-slim]*"])


def test_what_is_copied_and_set(project: Project) -> None:
    (project.path / "conf").mkdir()
    (project.path / "conf" / "a.txt").write_text("from a folder")
    declare(
        project,
        """
        HERE = Path(__file__).parent

        class Told(Shop):
            def start(self):
                self.with_volume_mapping(HERE / "conf", "/conf")
                return super().start()

        web = service(
            lambda: Told()
            .with_copy_into_container(b"{other.url}", "/etc/told", 0o600)
            .with_copy_into_container(HERE / "conf", "/srv")
            .with_volume_mapping("rows", "/rows", "rw")
            .with_kwargs(
                mem_limit="64m",
                nano_cpus=500_000_000,
                cap_add=["SYS_NICE"],
                auto_remove=True,
                tmpfs={"/t": ""},
                hostname="shop",
            )
        )
        """,
    )
    project.tests(
        """
        from pathlib import Path

        def test_it(web):
            read = lambda path: web.exec("cat", path, check=True).stdout
            assert read("/etc/told") == "{other.url}"
            assert read("/srv/conf/a.txt") == read("/conf/a.txt") == "from a folder"
            web.copy_into_container(b"later", "/etc/later")
            assert read("/etc/later") == "later"
            web.copy_from_container("/etc/later", Path("later.txt"))
            assert Path("later.txt").read_text() == "later"
        """
    )
    project.run().assert_outcomes(passed=1)
    [request] = project.journal.requests
    assert (request["memory_bytes"], request["cpus"]) == (64 * 1024**2, 0.5)
    assert "SYS_NICE" in request["cap_add"]
    assert request["settings"]["hostname"] == "shop"
    assert list(request["volumes"].values()) == ["/rows"]


def test_what_cannot_be_honoured_is_refused_with_its_line(project: Project) -> None:
    declare(
        project,
        """
        ports = service(lambda: Shop().with_bind_ports(8000, 80).with_exposed_ports("53/udp"))
        names = service(lambda: Shop().with_name("shop").with_network_aliases("shop"))
        class Twin(Shop):
            def __init__(self):
                super().__init__()
                self.helper = Shop()
        twin = service(Twin)
        mounts = service(lambda: Shop().with_volume_mapping("/etc", "/etc", "rw").with_volume_mapping("/none", "/none"))
        given = {"privileged": True, "links": {"a": "b"}, "labels": {}}
        options = service(lambda: Shop().with_kwargs(**given).with_tmpfs_mount("/t", "1m"))
        saved = service(Shop, snapshot="/data")
        nothing = service(lambda: 3)
        broken = service(lambda: 1 / 0)
        """,
    )
    project.tests("def test_it(ports): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = errors_of(result)
    text = "\n".join(lines)
    for expected in (
        "13 wrong declarations",
        "conftest.py:51: twin: Twin: it would make more than its container: Shop",
        "conftest.py:45: ports: Shop: port 8000 cannot be bound to port 80 of the host: another run may have it",
        "do     with_exposed_ports(8000), and ask get_exposed_port(8000)",
        "ports: Shop: the port '53/udp' cannot be published: ports of a module are of TCP",
        "conftest.py:46: names: Shop: with_name('shop') cannot be honoured",
        "names: Shop: with_network_aliases() cannot be honoured",
        "conftest.py:52: mounts: Shop: /etc of this host cannot be mounted at /etc to be written",
        "mounts: Shop: there is no file or folder /none to be read at /none",
        "conftest.py:54: options: Shop: privileged=True cannot be honoured",
        "do     leave it out; cap_add=[...] and new_privileges=True of service() give back what a server needs",
        "options: Shop: links={'a': 'b'} cannot be honoured",
        "options: Shop: the folder /t in memory cannot be limited to '1m'",
        "conftest.py:55: saved.snapshot: the first start of Shop cannot be saved",
        "conftest.py:56: nothing: <lambda>: it has made 3",
        "conftest.py:57: broken: <lambda>: it could not be asked what it starts: ZeroDivisionError: division by zero",
    ):
        assert expected in text
    assert project.journal.is_empty


def test_a_module_that_gives_up_is_told_with_its_own_words(project: Project) -> None:
    declare(
        project,
        """
        class Wrong(Shop):
            def start(self):
                super().start()
                raise RuntimeError("the licence has ended") from ValueError("it was for 3 days")

        wrong = service(Wrong)
        slow = service(lambda: Shop().waiting_for(ExecWaitStrategy("false")), timeout=0.5)
        dead = service(lambda: Shop(steps=["err no licence", "exit 3"]).waiting_for(LogMessageWaitStrategy("never")))
        moody = service(lambda: Moody())

        class Moody(Shop):
            def _configure(self):
                import secrets
                self.with_env("TOKEN", secrets.token_hex())
        """,
    )
    project.tests(
        "def test_wrong(wrong): pass",
        "def test_slow(slow): pass",
        "def test_dead(dead): pass",
        "def test_moody(moody): pass",
        """
        def test_that_nobody_waits_any_more():
            import threading
            from waiting import wait_for
            wait_for(lambda: not any(t.name.startswith("isolate-module") for t in threading.enumerate()))
        """,
    )
    result = project.run()
    result.assert_outcomes(errors=4, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*service 'wrong' (*) was not ready: its Wrong has given up",
            "*tried  start() of Wrong",
            "*found  RuntimeError: the licence has ended",
            "*       ValueError: it was for 3 days",
            "*declared at*conftest.py:50",
            "*service 'slow' (*) was not ready after 0.* s",
            "*tried  the own wait of Shop; last answer: exit code 1",
            "*service 'dead' (*) ended before it was ready",
            "*for the own wait of Shop",
            "*container exited with code 3; last log lines:",
            "*no licence",
            "*the module of service 'moody' has another value each time: TOKEN",
        ]
    )
    project.journal.assert_nothing_is_left()


def test_a_plain_container_is_waited_for_as_any_service_is(project: Project) -> None:
    declare(
        project,
        """
        def plain():
            return DockerContainer(IMAGE, ports=[8000]).with_command(program("sleep 0.3", "serve 8000 hello"))

        web = service(plain, needs=["other"])
        other = service(Shop)
        asked = service(plain, ready=http("/"))
        """,
    )
    project.tests(
        """
        from conftest import fetch

        def test_it(web, asked):
            assert fetch(f"http://127.0.0.1:{web.get_exposed_port(8000)}/") == "hello"
            assert asked.url.startswith("http://")
        """
    )
    project.run().assert_outcomes(passed=1)
    assert len(starts(project)) == 1


def test_health_and_http_are_waited_for(project: Project) -> None:
    """Strategies that look at the container's health, or ask over HTTP, see what the run's engine and ports say."""
    declare(
        project,
        """
        from testcontainers.core.wait_strategies import CompositeWaitStrategy, HealthcheckWaitStrategy, HttpWaitStrategy

        def make():
            checked = DockerContainer(IMAGE, ports=[8000]).with_kwargs(healthcheck={"test": ["CMD", "true"]})
            http = HttpWaitStrategy(8000, "/status/204").for_status_code(204)
            both = CompositeWaitStrategy(http, HealthcheckWaitStrategy())
            return checked.with_command(program("sleep 0.2", "serve 8000 hello")).waiting_for(both)

        web = service(make)
        """,
    )
    project.tests(
        """
        def test_it(web):
            assert web.get_wrapped_container().attrs["State"]["Health"]["Status"] == "healthy"
            assert web.logs() == ""
        """
    )
    project.run().assert_outcomes(passed=1)


def test_the_container_belongs_to_the_run_and_not_to_the_module(project: Project) -> None:
    declare(project, "web = service(Shop)")
    project.tests(
        """
        from conftest import fetch

        def test_refused(web):
            for refused in (web.module.stop, web.module.start, web.module.__enter__):
                with pytest.raises(IsolateError, match="is started and removed by pytest-isolate"):
                    refused()
            with pytest.raises(IsolateError, match="with_env.. would change nothing"):
                web.with_env("A", "B")
            with pytest.raises(AttributeError, match="neither services nor Shop have 'get_conection_url'"):
                web.get_conection_url
            with pytest.raises(AttributeError, match="'kill' of the docker SDK is not there"):
                web.get_wrapped_container().kill()
            with pytest.raises(IsolateError, match="publishes no port 7000"):
                web.get_exposed_port(7000)

        def test_restarted(web):
            before = web.get_connection_url()
            web.restart()
            assert web.get_connection_url() == before
            assert fetch(f"http://{web.address}/") == "hello"
        """
    )
    project.run().assert_outcomes(passed=2)
    assert len(starts(project)) == 1, "what a module does behind its start is done once"
    project.journal.assert_nothing_is_left()
