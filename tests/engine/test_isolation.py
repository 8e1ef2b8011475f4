"""Services with the same names and ports side by side: none reads, reaches or blocks another."""

from __future__ import annotations

import pytest

from engine.conftest import PREAMBLE, Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

GET = """
import socket
from urllib.request import urlopen

def get(service, path="/"):
    with urlopen(f"http://{service.address}{path}", timeout=60) as answer:
        return answer.read().decode()
"""


@pytest.mark.slow
def test_twenty_stacks_with_identical_names_never_read_each_others_data(project: Project) -> None:
    """Each stack has a `db` that answers with a nonce and a `web` that asks its `db`; all live at the same time."""
    project.conftest(
        """
        import secrets

        NONCES = {f"stack{n}": secrets.token_hex(8) for n in range(20)}
        for name, nonce in NONCES.items():
            globals()[name] = stack(
                db=service(IMAGE, command=program(f"serve 5432 {nonce}"), port=5432, memory="32m"),
                web=service(IMAGE, command=program("serve 8000"), port=8000, env={"DB": "{db.address}"}, memory="32m"),
            )

        @pytest.fixture(scope="session")
        def nonces(): return NONCES
        """.replace("import secrets", "import secrets, pytest")
    )
    names = ", ".join(f"stack{n}" for n in range(20))
    project.tests(
        GET,
        f"""
        def test_nonces(nonces, {names}):
            stacks = dict(zip(nonces, [{names}]))
            for _ in range(3):
                for name, stack in stacks.items():
                    assert stack.web.env["DB"] == "db:5432"
                    assert get(stack.web, "/fetch/db/5432") == nonces[name]
                    assert get(stack.db) == nonces[name]
            assert len({{s.web.port for s in stacks.values()}} | {{s.db.port for s in stacks.values()}}) == 40
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_one_network_cannot_be_reached_from_another(project: Project) -> None:
    """Neither by name nor by address, nor through what the other publishes on the host."""
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 8000 hello"), port=8000)
        hr = stack(web=web, client=service(IMAGE, command=forever()))
        sales = stack(shop=web, client=service(IMAGE, command=forever()))
        """
    )
    project.tests(
        """
        def fetch(client, host, port=8000):
            return client.exec(*program(f"fetch {host} {port}"))

        def address(service):
            return service.exec("hostname", "-I", check=True).stdout.split()[0]

        def test_it(hr, sales):
            assert fetch(hr.client, "web").stdout == "hello\\n"
            assert fetch(hr.client, address(hr.web)).stdout == "hello\\n"
            assert fetch(sales.client, "shop").stdout == "hello\\n"
            assert fetch(sales.client, "web").exit_code == 1
            assert fetch(sales.client, address(hr.web)).exit_code == 1
            gateway = address(sales.client).rpartition(".")[0]
            route = sales.client.exec("cat", "/proc/net/route", check=True).stdout.splitlines()[1].split()[2]
            gateway = ".".join(str(int(route[i : i + 2], 16)) for i in (6, 4, 2, 0))
            assert fetch(sales.client, gateway, hr.web.port).exit_code == 1
        """.replace('            gateway = address(sales.client).rpartition(".")[0]\n', "")
    )
    project.run().assert_outcomes(passed=1)


def test_volumes_and_paths_of_the_same_name_are_separate(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=forever(), volumes={"data": "/data"}, files={"/etc/realm": "none"})
        hr = stack(web=service(web, files={"/etc/realm": "hr"}))
        sales = stack(web=service(web, files={"/etc/realm": "sales"}))
        """
    )
    project.tests(
        """
        def test_it(hr, sales):
            hr.web.exec(*program("write /data/who hr"), check=True)
            assert sales.web.exec("cat", "/data/who").exit_code != 0
            assert hr.web.exec("cat", "/etc/realm").stdout == "hr"
            assert sales.web.exec("cat", "/etc/realm").stdout == "sales"
        """
    )
    project.run().assert_outcomes(passed=1)


def test_native_ports_answer_on_loopback_addresses_of_their_own(project: Project) -> None:
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 18025"), port=18025, env={"REALM": "none"})
        hr = stack(web=service(web, env={"REALM": "hr"}), ports="native")
        sales = stack(web=service(web, env={"REALM": "sales"}), ports="native")
        """
    )
    project.tests(
        GET,
        """
        def test_it(hr, sales):
            assert hr.web.port == sales.web.port == hr.web.inside.port == 18025
            assert hr.web.host != sales.web.host
            assert {hr.web.host, sales.web.host}.isdisjoint({"127.0.0.1"})
            assert (get(hr.web, "/env/REALM"), get(sales.web, "/env/REALM")) == ("hr", "sales")
            with socket.socket() as sock:
                assert sock.connect_ex(("127.0.0.1", 18025)) != 0
            hr.web.restart()
            assert get(hr.web, "/env/REALM") == "hr"
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_held_port_survives_stop_kill_and_restart_and_nobody_gets_it_meanwhile(project: Project) -> None:
    project.conftest('web = service(IMAGE, command=program("serve 8000 here"), port=8000)')
    project.tests(
        GET,
        """
        import errno
        import pytest

        def assert_taken(port):
            with socket.socket() as other, pytest.raises(OSError) as caught:
                other.bind(("127.0.0.1", port))
            assert caught.value.errno == errno.EADDRINUSE

        def assert_never_given(port):
            sockets = [socket.socket() for _ in range(2000)]
            try:
                for sock in sockets:
                    sock.bind(("127.0.0.1", 0))
                    assert sock.getsockname()[1] != port
            finally:
                for sock in sockets:
                    sock.close()

        @pytest.mark.parametrize("end", ["stop", "kill"])
        def test_it(web, end):
            before = web.address
            assert get(web) == "here"
            getattr(web, end)()
            with pytest.raises(OSError):
                get(web)
            assert_taken(web.port)
            assert_never_given(web.port)
            web.start()
            assert web.address == before
            assert get(web) == "here"

        def test_restart(web):
            before = web.address
            web.restart()
            assert web.address == before
            assert get(web) == "here"
        """,
    )
    project.run().assert_outcomes(passed=3)


def test_a_binary_file_is_read_byte_for_byte(project: Project) -> None:
    project.conftest('web = service(IMAGE, command=program("sleep 60"))')
    project.tests(
        """
        import hashlib

        def test_it(web):
            content = web.exec("cat", "/bin/sh", check=True, binary=True).stdout
            assert b"\\0" in content
            assert hashlib.sha256(content).hexdigest() in web.exec("sha256sum", "/bin/sh").stdout
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_ports_are_reached_over_ipv4_loopback_only(project: Project) -> None:
    """Trap 3: nothing is published on ::1, nor on the host's other addresses."""
    project.conftest('web = service(IMAGE, command=program("serve 8000 here"), port=8000)')
    project.tests(
        GET,
        """
        def test_it(web):
            assert web.host == "127.0.0.1"
            listeners = {c.laddr.ip for c in __import__("psutil").net_connections("tcp")
                         if c.status == "LISTEN" and c.laddr.port == web.port}
            assert listeners == {"127.0.0.1"}
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_connection_to_a_shared_service_outlives_the_start_of_what_needs_it(project: Project) -> None:
    """Docker moves a container's published ports to the first of its networks by name, and cuts connections then."""
    project.conftest(
        """
        web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"))
        near = service(web, needs=["web"], scope="function")
        far = service(near, scope="module")
        """
    )
    project.tests(
        """
        import socket

        def test_it(web, request):
            with socket.create_connection((web.host, web.port), timeout=60) as connection:
                connection.sendall(b"GET / HTTP/1.0\\r\\n")
                for name in ("near", "far"):
                    request.getfixturevalue(name)
                connection.sendall(b"\\r\\n")
                assert connection.makefile("rb").read().endswith(b"hello")

        def test_dependents_reach_it(near, far):
            for service in (near, far):
                assert service.exec(*program("fetch web 8000"), check=True).stdout == "hello\\n"
        """
    )
    project.run().assert_outcomes(passed=2)


def test_a_name_with_an_underscore_is_found_with_a_hyphen_too(project: Project) -> None:
    """Some programs refuse an underscore in a host, so what is told has none; also where a network is joined later."""
    project.conftest(
        """
        shop_web = service(IMAGE, command=program("serve 8000 hello"), port=8000)
        front = service(IMAGE, command=program("serve 8000"), port=8000, env={"URL": "{shop_web.url}"})
        """
    )
    project.write(
        "inner/conftest.py",
        PREAMBLE,
        'late = service(IMAGE, command=program("serve 8000"), port=8000, needs=["shop_web"], scope="module")',
    )
    asking = """
        @pytest.mark.parametrize("host", ["shop_web", "shop-web"])
        def test_it({asker}, shop_web, host):
            assert {asker}.exec(*program(f"fetch {{host}} 8000"), check=True).stdout == "hello\\n"
            assert shop_web.inside.url == "tcp://shop-web:8000"
    """
    project.tests(asking.format(asker="front"), 'def test_url(front): assert front.env["URL"] == "tcp://shop-web:8000"')
    project.tests(asking.format(asker="late"), name="inner/test_late.py")
    project.run().assert_outcomes(passed=5)
