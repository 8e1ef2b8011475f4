"""Compose files of whole projects: each runs twice at once, as its public like does once, and none knows of another."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE, program

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

PROJECTS = Path(__file__).parent / "composed"
GET = """
import re
from urllib.request import Request, urlopen
from waiting import wait_for

def get(service, path="/", method="GET"):
    with urlopen(Request(f"http://{service.address}{path}", method=method), timeout=60) as answer:
        return answer.read().decode()
"""


@pytest.fixture
def composed(project: Project, docker_client: Any) -> Iterator[Project]:
    """A project with a copy of all three; what is built for it goes again."""
    for name in ("shop", "monitoring", "wiki"):
        shutil.copytree(PROJECTS / name, project.path / name)
    project.env["WIKI_PASSWORD"] = "sesame"
    yield project
    with suppress(FileNotFoundError):
        docker_client.remove_image((project.path / "tag").read_text(), force=True)


def test_three_projects_run_twice_side_by_side(composed: Project) -> None:
    """All of them at once: 22 services of which many have the same names, ports, volumes and container names."""
    composed.conftest(
        """
        shop = compose("shop/compose.yaml")
        french_shop = compose("shop/compose.yaml", env={"GREETING": "bonjour"})

        MONITORING = ("monitoring/compose.yaml", "monitoring/compose.override.yaml")
        monitoring = compose(*MONITORING, env={"TITLE": "first"})
        other_monitoring = compose(*MONITORING, env={"TITLE": "second"})

        wiki = compose("wiki/compose.yml")
        other_wiki = compose("wiki/compose.yml", env={"WIKI_PASSWORD": "other"})
        """
    )
    composed.tests(
        GET,
        """
        from pathlib import Path

        @pytest.fixture(scope="session", autouse=True)
        def all_at_once(shop, french_shop, monitoring, other_monitoring, wiki, other_wiki):
            Path("tag").write_text(shop.web.image)

        def test_each_shop_has_its_own_queue_and_cache(shop, french_shop):
            assert [get(s.web) for s in (shop, french_shop)] == ["welcome EUR 12 cups", "bonjour EUR 12 cups"]
            for number in range(1, 4):
                assert get(shop.web, "/order/cup") == str(number)
            wait_for(lambda: get(shop.web, "/done") == "3")
            assert get(french_shop.web, "/done") == ""
            assert get(shop.web, "/key") == "key-of-the-shop"
            assert shop.web.port != french_shop.web.port

        def test_a_shop_is_as_its_file_says(shop):
            assert shop.web.image == shop.worker.image
            assert shop.web.exec("sh", "-c", "echo $BUILT_FOR $CACHE").stdout == "web redis:6379\\n"
            assert shop.web.exec("stat", "-c", "%a", "/run/secrets/api_key").stdout == "400\\n"
            for name in ("shop-web", "www", "web", "queue"):
                assert shop.worker.exec("getent", "hosts", name).exit_code == 0
            assert shop.web.exec("cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
                                 ).stdout == f"{64 << 20}\\n"
            assert shop.worker.exec("cat", "/proc/1/comm").stdout != "perl\\n"
            assert shop.cache.exec("touch", "/srv/x").exit_code != 0
            assert shop.cache.exec("touch", "/tmp/x", "/stored/x").exit_code == 0
            assert "console" not in shop

        def test_each_dashboard_shows_its_own_exporters(monitoring, other_monitoring):
            for stack, title in ((monitoring, "first"), (other_monitoring, "second")):
                shown = lambda: re.sub(" [0-9]+", " N", get(stack.dashboard))
                wait_for(lambda: shown() == f"{title}: node-1 N, app-1 N", show=shown)

        def test_a_monitoring_set_is_as_its_files_say(monitoring):
            inside = monitoring.dashboard.exec
            assert inside("sh", "-c", "id -u; id -g; pwd").stdout == "1000\\n1000\\n/tmp\\n"
            exporter = monitoring.node_exporter
            # Of the first process: runc lets a second one begin with the hard limit now and then.
            limits = exporter.exec("grep", "open files", "/proc/1/limits").stdout.split()
            assert limits[3:5] == ["512", "1024"]
            assert exporter.exec("getent", "hosts", "gateway.example").stdout.split()[0] == "192.0.2.7"
            assert exporter.exec("sh", "-c", "touch /run/x && df -k /run | tail -1").stdout.split()[1] == "1024"
            assert "CapBnd:\\t0000000000000000" in monitoring.app_exporter.exec("cat", "/proc/1/status").stdout
            conf = monitoring.collector.exec("cat", "/etc/collector/targets.conf").stdout
            assert conf.endswith("# first, and $HOME as it is\\n")

        def test_each_wiki_has_its_own_pages(wiki, other_wiki):
            assert get(wiki.wiki, "/Home") == get(other_wiki.wiki, "/Home") == "Start here."
            assert get(wiki.wiki, "/Home?Changed", method="POST") == "Changed"
            assert get(other_wiki.wiki, "/Home") == "Start here."
            wiki.db.restart(timeout_s=1)
            assert get(wiki.wiki, "/Home") == "Changed"
            assert other_wiki.wiki.exec("cat", "/run/secrets/db_password").stdout == "other"

        def test_nothing_of_the_projects_own_files_was_changed(wiki):
            wiki.wiki.exec("sh", "-c", "echo broken > /opt/wiki.pl", check=True)
            assert "A wiki over HTTP" in Path("wiki/wiki.pl").read_text()
        """,
    )

    composed.run("-v").assert_outcomes(passed=6)


def test_workers_share_what_a_file_declares(composed: Project) -> None:
    composed.conftest('wiki = compose("wiki/compose.yml")')
    composed.tests(
        GET,
        """
        @pytest.mark.parametrize("number", range(4))
        def test_it(wiki, number):
            assert get(wiki.wiki, "/Home") == "Start here."
            (page := f"Page{number}") and get(wiki.wiki, f"/{page}?{number}", method="POST")
            assert get(wiki.wiki, f"/{page}") == str(number)
        """,
    )

    result = composed.run("-n2")

    result.assert_outcomes(passed=4)
    assert any("2 services" in line for line in result.outlines)


def command(*steps: str) -> str:
    """A program's command line for a Compose file."""
    return json.dumps([word.replace("$", "$$") for word in program(*steps)])


def test_services_share_a_network_a_namespace_and_a_volume_at_two_places(project: Project) -> None:
    project.write(
        "compose.yaml",
        f"""
        services:
          proxy:
            image: {IMAGE}
            command: {command("write /one/it shared", "serve 8000 hello")}
            expose: ["8000"]
            volumes: ["data:/one", "data:/two:ro"]
          behind:
            image: {IMAGE}
            command: {command("sleep 99")}
            network_mode: service:proxy
            pid: service:proxy
            volumes_from: ["proxy:ro"]
          beside: {{image: {IMAGE}, command: {command("sleep 99")}}}
        volumes: {{data: }}
        """,
    )
    project.conftest('shop = compose("compose.yaml")')
    project.tests(
        GET,
        """
        def test_it(shop):
            assert get(shop.proxy) == "hello"
            assert shop.behind.exec(*program("fetch localhost 8000")).exit_code == 0
            assert shop.beside.exec(*program("fetch localhost 8000")).exit_code != 0
            assert shop.proxy.exec("cat", "/two/it").stdout == "shared\\n"
            assert shop.proxy.exec("touch", "/two/x").exit_code != 0
            assert shop.behind.exec("cat", "/one/it").stdout == "shared\\n"
            assert shop.behind.exec("touch", "/one/x").exit_code != 0
            def namespace(service, name): return service.exec("readlink", f"/proc/self/ns/{name}").stdout
            for name in ("net", "pid"):
                assert namespace(shop.behind, name) == namespace(shop.proxy, name) != namespace(shop.beside, name)
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_parts_of_the_host_are_there_with_a_permission_only(project: Project) -> None:
    """But for `privileged: true`, which an engine in a container cannot give."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    project.write(
        "compose.yaml",
        f"""
        services:
          agent: {{image: {IMAGE}, command: {command(f"serve {port} hello")}, network_mode: host, ports: ["{port}"]}}
          watcher:
            image: {IMAGE}
            command: {command("sleep 99")}
            pid: host
            devices: ["/dev/null:/dev/nothing"]
            volumes: ["/proc:/host/proc:ro"]
        """,
    )
    allow = 'allow=["host-network", "privileged", "devices"]'
    project.conftest(f'shop = compose("compose.yaml", {allow})')
    project.tests(
        GET,
        f"""
        def test_it(shop):
            assert (shop.agent.port, get(shop.agent)) == ({port}, "hello")
            watcher = shop.watcher.exec
            assert watcher("sh", "-c", "test -c /dev/nothing && test -e /host/proc/1/comm").exit_code == 0
            own, theirs = (one.exec("readlink", "/proc/self/ns/pid").stdout for one in (shop.agent, shop.watcher))
            assert "" != own != theirs
        """,
    )
    project.run().assert_outcomes(passed=1)
