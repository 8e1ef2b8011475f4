"""Files and mounts of this host in containers, as Docker has them; but this host's own are never written."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.programs import IMAGE

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

DOCKERFILE = f"""
FROM {IMAGE}
RUN mkdir -p /conf.d /app /opt/real /node/modules && ln -s /opt/real/app.conf /etc/app.conf && ln -s opt/real /linked
RUN echo image | tee /conf.d/default.conf /app/image /opt/real/app.conf > /node/modules/own
RUN echo web:x:1234: >> /etc/group && echo app:x:1200:1234::/:/bin/sh >> /etc/passwd && chown -R 1200:1234 /app
RUN chmod 750 /app
"""
PREAMBLE = """
import os
from pathlib import Path
from msgspec.structs import replace
from pytest_isolate.engine.docker.engine import DockerEngine
from pytest_isolate.engine.docker.transport.client import open_http

TRIED = os.environ["TRIED_IMAGE"]

class Elsewhere(DockerEngine):
    "An engine to which this host's paths mean nothing, as those of other hosts say of themselves."

    def facts(self):
        return replace(super().facts(), shares_files=False)

def pytest_isolate_engine(config):
    return Elsewhere(open_http(os.environ)) if "ELSEWHERE" in os.environ else None
"""
SH = """
def sh(service, text, check=True):
    result = service.exec("sh", "-c", text, check=check)
    return (result.stdout + result.stderr).strip()
"""


@pytest.fixture(scope="module")
def tried_image(docker_client: Any, tmp_path_factory: pytest.TempPathFactory, base_image: None) -> Iterator[str]:
    """An image with folders, links and users of its own."""
    folder, tag = tmp_path_factory.mktemp("image"), f"isolate-test-files:{secrets.token_hex(4)}"
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for line in docker_client.build(path=str(folder), tag=tag, rm=True, decode=True):
        assert "error" not in line, line
    yield tag
    docker_client.remove_image(tag, force=True)


@pytest.fixture(params=["here", "elsewhere"])
def tried(request: pytest.FixtureRequest, project: Project, tried_image: str) -> Project:
    """A project with `conf`, a folder with one file, on an engine that has this host's files and on one without."""
    project.write("conf/shop.conf", "shop")
    project.env |= {"TRIED_IMAGE": tried_image, "XDG_CACHE_HOME": str(project.path / "cache")}
    if request.param == "elsewhere":
        project.env["ELSEWHERE"] = "1"
    return project


def test_a_folder_hides_what_the_image_has_there(tried: Project) -> None:
    tried.conftest(
        PREAMBLE,
        """
        copied = service(TRIED, command=forever(), files={"/conf.d": Path("conf")})
        mounted = service(TRIED, command=forever(), volumes={"./conf": "/conf.d"})
        read = service(TRIED, command=forever(), volumes={"./conf": "/conf.d:ro"})
        """,
    )
    tried.tests(
        SH,
        """
        def test_it(copied, mounted, read):
            assert [sh(s, "ls /conf.d") for s in (copied, mounted, read)] == ["shop.conf"] * 3
            assert "Read-only file system" in sh(read, "touch /conf.d/x", check=False)
            assert sh(copied, "touch /conf.d/x && ls /conf.d") == sh(mounted, "touch /conf.d/x && ls /conf.d")
        """,
    )
    tried.run().assert_outcomes(passed=1)
    assert os.listdir(tried.path / "conf") == ["shop.conf"]


def test_a_file_of_a_folder_that_is_there_is_added_by_its_name(tried: Project) -> None:
    tried.conftest(PREAMBLE, """web = service(TRIED, command=forever(), files={"/conf.d/a": Path("conf/shop.conf")})""")
    tried.tests(SH, """def test_it(web): assert sh(web, "ls /conf.d").split() == ["a", "default.conf"]""")
    tried.run().assert_outcomes(passed=1)


def test_a_volume_within_a_folder_hides_the_hosts_files(tried: Project) -> None:
    """As `["./app:/node", "/node/modules"]` in a Compose file; hard links into the hidden part are no matter."""
    tried.write("app/main.js", "host")
    tried.write("app/modules/host", "host")
    os.link(tried.path / "app/modules/host", tried.path / "app/linked")
    tried.conftest(
        PREAMBLE,
        """
        web = service(TRIED, command=forever(), volumes={"./app": "/node", "own": "/node/modules"})
        whole = service(TRIED, command=forever(), volumes={"./app": "/app"}, needs=["web"])
        bare = service(TRIED, command=forever(), files={"/node": Path("app")}, volumes={"own": "/node/modules"})
        """,
    )
    tried.tests(
        SH,
        """
        @pytest.mark.parametrize("name", ["web", "bare"])
        def test_it(name, request):
            service = request.getfixturevalue(name)
            assert sh(service, "cd /node && ls").split() == ["linked", "main.js", "modules"]
            assert sh(service, "ls /node/modules") == "own"

        def test_who_shares_the_folder_has_all_of_it(whole):
            assert sh(whole, "ls /app/modules") == "host"
        """,
    )
    tried.run().assert_outcomes(passed=3)
    assert sorted(os.listdir(tried.path / "app/modules")) == ["host"]


def test_files_below_a_folder_in_memory_are_there(tried: Project) -> None:
    tried.conftest(
        PREAMBLE,
        """
        deep = service(TRIED, command=forever(), files={"/run/app/token": "x"}, container={"tmpfs": ["/run"]})
        right = service(TRIED, command=forever(), files={"/mem/token": "x"}, container={"tmpfs": ["/mem"]})
        whole = service(TRIED, command=forever(), files={"/mem/conf": Path("conf")}, container={"tmpfs": ["/mem"]})
        linked = service(TRIED, command=forever(), files={"/var/run/token": "x"}, container={"tmpfs": ["/run"]})
        """,
    )
    tried.tests(
        SH,
        """
        def test_it(deep, right, whole, linked):
            assert [sh(deep, "cat /run/app/token"), sh(right, "cat /mem/token")] == ["x", "x"]
            assert sh(whole, "cat /mem/conf/shop.conf") == "shop"
            assert sh(linked, "cat /run/token") == "x"
            assert "tmpfs /run" in sh(deep, "mount") or " /run type tmpfs" in sh(deep, "mount")
            assert sh(right, "touch /mem/more && ls /mem").split() == ["more", "token"]
        """,
    )
    tried.run().assert_outcomes(passed=1)


def test_a_read_only_container_has_its_files(tried: Project) -> None:
    tried.conftest(
        PREAMBLE,
        """
        READ_ONLY = {"read_only": True}
        data = service(TRIED, command=forever(), files={"/data/a": "x"}, volumes={"d": "/data"}, container=READ_ONLY)
        conf = service(TRIED, command=forever(), files={"/conf.d/a": "x"}, container=READ_ONLY)
        folder = service(TRIED, command=forever(), files={"/conf.d": Path("conf")}, container=READ_ONLY)
        shared = service(TRIED, command=forever(), volumes={"./conf": "/conf.d"}, container=READ_ONLY)
        """,
    )
    tried.tests(
        SH,
        """
        def test_it(data, conf, folder, shared):
            assert sh(data, "cat /data/a") == "x"
            assert sh(conf, "ls /conf.d").split() == ["a", "default.conf"]
            assert [sh(s, "ls /conf.d") for s in (folder, shared)] == ["shop.conf"] * 2
            assert "Read-only file system" in sh(conf, "touch /etc/x", check=False)
        """,
    )
    tried.run().assert_outcomes(passed=1)


def test_links_of_the_image_are_followed(tried: Project) -> None:
    tried.conftest(
        PREAMBLE,
        """
        web = service(TRIED, command=forever(), files={"/etc/app.conf": "x", "/linked/more": "y"})
        folder = service(TRIED, command=forever(), files={"/linked": Path("conf")})
        mounted = service(TRIED, command=forever(), volumes={"./conf": "/linked", "./conf/shop.conf": "/etc/app.conf"})
        """,
    )
    tried.tests(
        SH,
        """
        def test_it(web, folder, mounted):
            assert sh(mounted, "readlink /linked; ls /opt/real").split()[:2] == ["opt/real", "app.conf"]
            assert [sh(mounted, text) for text in ("readlink /etc/app.conf", "cat /opt/real/app.conf")] == [
                "/opt/real/app.conf", "shop"]
            assert sh(web, "readlink /etc/app.conf; cat /opt/real/app.conf").split() == ["/opt/real/app.conf", "x"]
            assert sh(web, "cat /opt/real/more") == "y"
            assert sh(folder, "readlink /linked; ls /opt/real").split() == ["opt/real", "shop.conf"]
        """,
    )
    tried.run().assert_outcomes(passed=1)


def test_owners_modes_and_times(tried: Project) -> None:
    tried.write("key", "secret")
    tried.write("data/file", "x")
    for name in ("data", "data/file"):
        os.chown(tried.path / name, 1000, 1001)
        os.utime(tried.path / name, (1_500_000_000, 1_500_000_000))
    tried.conftest(
        PREAMBLE,
        """
        web = service(TRIED, command=forever(), volumes={"./data": "/data"}, files={
            "/app": Path("conf"),
            "/key": {"path": "key", "mode": "0600", "owner": "app"},
            "/text": {"text": "x", "owner": "app:root"},
            "/numbers": {"text": "x", "owner": 999},
            "/tree": {"path": "conf", "owner": "12:13"},
            "/plain": Path("data/file"),
        })
        """,
    )
    tried.tests(
        SH,
        """
        def stat(service, path):
            return sh(service, f"stat -c '%u:%g %a %Y' {path}").split()

        def test_it(web):
            assert stat(web, "/app")[:2] == ["1200:1234", "750"]
            assert stat(web, "/app/shop.conf")[:2] == ["0:0", "644"]
            assert stat(web, "/key")[:2] == ["1200:1234", "600"]
            assert stat(web, "/text")[0] == "1200:0"
            assert stat(web, "/numbers")[0] == "999:999"
            assert [stat(web, path)[0] for path in ("/tree", "/tree/shop.conf")] == ["12:13"] * 2
            assert stat(web, "/data/file")[::2] == ["1000:1001", "1500000000"]
            assert stat(web, "/data")[0] == "1000:1001"
            assert stat(web, "/plain")[::2] == ["0:0", "1500000000"]
        """,
    )
    tried.run().assert_outcomes(passed=1)


def test_an_owner_that_the_image_lacks_is_told(tried: Project) -> None:
    tried.conftest(PREAMBLE, """web = service(TRIED, command=forever(), files={"/a": {"text": "", "owner": "apq"}})""")
    tried.tests("def test_it(web): pass")
    result = tried.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*'web' (*could not be started: a file of it belongs to the user 'apq', *did you mean 'app'?"]
    )


@pytest.mark.slow
def test_a_stack_shares_a_folder_and_another_stack_has_its_own(tried: Project) -> None:
    tried.conftest(
        PREAMBLE,
        """
        one = service(TRIED, command=forever(), volumes={"./conf": "/shared"})
        other = service(TRIED, command=forever(), volumes={"./conf": ["/conf", "/again:ro"]}, needs=["one"])
        hr, sales = stack(one=one, other=other), stack(one=one, other=other)
        """,
    )
    tried.tests(
        SH,
        """
        def test_it(hr, sales):
            sh(hr.one, "echo hr > /shared/who; rm /shared/shop.conf")
            assert [sh(hr.other, f"ls {path}") for path in ("/conf", "/again")] == ["who"] * 2
            assert sh(sales.other, "ls /conf") == "shop.conf"
            assert "Read-only file system" in sh(sales.other, "touch /again/x", check=False)
        """,
    )
    tried.run().assert_outcomes(passed=1)
    assert (tried.path / "conf/shop.conf").read_text() == "shop"
    tried.run("-n2").assert_outcomes(passed=1)


def test_a_file_is_mounted_over_one_of_a_folder_that_is_only_read(tried: Project) -> None:
    tried.write("other.conf", "other")
    tried.conftest(
        PREAMBLE,
        """
        mounted = service(TRIED, command=forever(),
                          volumes={"./conf": "/conf.d:ro", "./other.conf": "/conf.d/shop.conf"})
        copied = service(TRIED, command=forever(), volumes={"./conf": "/conf.d:ro"},
                         files={"/conf.d/shop.conf": "other", "/conf.d/deep/new": "new"})
        """,
    )
    tried.tests(
        SH,
        """
        def test_it(mounted, copied):
            assert [sh(s, "cat /conf.d/shop.conf") for s in (mounted, copied)] == ["other"] * 2
            assert sh(copied, "cat /conf.d/deep/new") == "new"
            assert "Read-only file system" in sh(copied, "touch /conf.d/x", check=False)
        """,
    )
    tried.run().assert_outcomes(passed=1)
    assert (tried.path / "conf/shop.conf").read_text() == "shop"


def test_a_shared_folder_is_filled_once(tried: Project) -> None:
    """What the first service has changed is not put back when the second one starts."""
    tried.conftest(
        PREAMBLE,
        """
        one = service(TRIED, command=["sh", "-c", "echo changed > /c/shop.conf; echo up; sleep 600"],
                      volumes={"./conf": "/c"}, ready=log("up"))
        two = service(TRIED, command=forever(), volumes={"./conf": "/c"}, needs=["one"])
        """,
    )
    tried.tests(SH, """def test_it(two): assert sh(two, "cat /c/shop.conf") == "changed" """)
    tried.run().assert_outcomes(passed=1)
