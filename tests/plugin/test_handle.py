"""What the value of a fixture can do."""

from __future__ import annotations

from plugin.conftest import Project

DECLARED = """
db = service(
    IMAGE,
    command=program("serve 5432 rows", "serve 9187 metrics"),
    port=5432,
    ports=[9187],
    user="app",
    password=None,
    database="orders",
    url="db://{user}@{host}:{port}/{database}",
    env={"ME": "{self.external_host}:{self.external_port}", "METRICS": "{self.external_port.9187}"},
)
silent = service(IMAGE, command=forever())
"""


def run(project: Project, body: str) -> None:
    project.conftest(DECLARED.replace("    password=None,\n", ""))
    project.tests("from urllib.request import urlopen", body)
    project.run().assert_outcomes(passed=body.count("def test_"))
    project.journal.assert_nothing_is_left()


def test_addresses_from_outside_and_inside(project: Project) -> None:
    run(
        project,
        """
        def test_it(db):
            assert db.host == "127.0.0.1"
            assert db.address == f"127.0.0.1:{db.port}"
            assert db.url == f"db://app@127.0.0.1:{db.port}/orders"
            assert (db.inside.host, db.inside.port, db.inside.address) == ("db", 5432, "db:5432")
            assert db.inside.url == "db://app@db:5432/orders"
            assert (db.user, db.password, db.database) == ("app", None, "orders")
            assert (db.name, db.image) == ("db", IMAGE)
            assert len(db.container_id) == 64
            assert repr(db) == f"<Service 'db' ({IMAGE}) at {db.address}>"
        """,
    )


def test_every_declared_port_has_a_published_one(project: Project) -> None:
    run(
        project,
        """
        def test_it(db):
            assert db.port_of(5432) == db.port
            with urlopen(f"http://{db.host}:{db.port_of(9187)}", timeout=60) as answer:
                assert answer.read() == b"metrics"

        def test_unknown(db):
            with pytest.raises(IsolateError, match="service 'db' publishes no port 80") as caught:
                db.port_of(80)
            assert "declared ports: 5432, 9187" in str(caught.value)
            assert "ports=[..., 80]" in str(caught.value)
        """,
    )


def test_own_address_is_known_before_the_start(project: Project) -> None:
    run(
        project,
        """
        def test_it(db):
            assert db.env["ME"] == db.address
            assert db.env["METRICS"] == str(db.port_of(9187))
        """,
    )


def test_service_without_a_port_says_so(project: Project) -> None:
    run(
        project,
        """
        @pytest.mark.parametrize("name", ["host", "port", "address", "url"])
        def test_it(silent, name):
            with pytest.raises(IsolateError, match="service 'silent' declares no port, so it has no address"):
                getattr(silent, name)
            assert repr(silent) == f"<Service 'silent' ({IMAGE})>"
        """.replace('        @pytest.mark.parametrize("name", ["host", "port", "address", "url"])\n', "").replace(
            "def test_it(silent, name):", 'def test_it(silent, name="url"):'
        ),
    )


def test_log_and_commands(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=program('say started', 'sleep 60'))")
    project.tests(
        """
        def test_logs(web): assert web.logs() == "started\\n"

        def test_exec(web):
            result = web.exec(*program("say out", "err wrong", "exit 3"))
            assert result == ExecResult(exit_code=3, stdout="out\\n", stderr="wrong\\n")

        def test_checked(web):
            with pytest.raises(IsolateError) as caught:
                web.exec(*program("err it broke", "exit 3"), check=True)
            assert "a command in service 'web' ended with code 3" in str(caught.value)
            assert "it broke" in str(caught.value)
        """
    )
    project.run().assert_outcomes(passed=3)


def test_stop_and_start_keep_the_address(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=program('serve 8000 here'), port=8000, ready=http('/'))")
    project.tests(
        """
        from urllib.request import urlopen

        def get(web):
            with urlopen(web.url, timeout=60) as answer:
                return answer.read()

        @pytest.mark.parametrize("end", ["stop", "kill"])
        def test_it(web, end):
            before = web.address
            getattr(web, end)()
            with pytest.raises(OSError):
                get(web)
            web.start()
            assert web.address == before
            assert get(web) == b"here"

        def test_restart(web):
            before = web.address, web.container_id
            web.restart()
            assert (web.address, web.container_id) == before
            assert get(web) == b"here"

        def test_pause(web):
            web.pause()
            with pytest.raises(OSError):
                urlopen(web.url, timeout=0.2)
            web.unpause()
            assert get(web) == b"here"
        """
    )
    project.run().assert_outcomes(passed=4)
    project.journal.assert_nothing_is_left()


def test_service_that_dies_when_it_is_started_again_is_told(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=forever())

        def pytest_isolate_engine(config):
            config.fake = open_fake()
            return config.fake
        """,
        engine="",
    )
    project.tests(
        """
        import msgspec.structs

        def test_it(web, request):
            web.stop()
            container = request.config.fake.containers[web.container_id]
            container.request = msgspec.structs.replace(container.request, command=program("say no", "exit 9"))
            with pytest.raises(IsolateError, match="ended before it was ready") as caught:
                web.start()
            assert "exited with code 9" in str(caught.value)
        """
    )
    project.run().assert_outcomes(passed=1)
