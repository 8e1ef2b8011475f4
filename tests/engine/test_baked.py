"""Images that bring data along: a preset's server uses it, and a folder in memory does not hide it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from engine.conftest import Project
from pytest_isolate.engine.api import BuildRequest, Engine

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

SERVICES = Path(__file__).parents[2] / "examples" / "services"
POSTGRES = """
ENV PGDATA=/baked
RUN install -d -o postgres -g postgres /baked
USER postgres
RUN initdb --no-sync --auth=trust >/dev/null && echo 'host all all all trust' >>/baked/pg_hba.conf
RUN echo 'CREATE TABLE cups AS SELECT 7 AS n' | postgres --single postgres
USER root
"""
MARIADB = """
RUN install -d -o mysql -g mysql /var/lib/baked \\
    && mariadb-install-db --user=mysql --datadir=/var/lib/baked --skip-test-db >/dev/null
RUN printf "FLUSH PRIVILEGES;\\nCREATE USER cups@'%%';\\n" | mariadbd --user=mysql --bootstrap --datadir=/var/lib/baked
"""


@pytest.fixture
def images(real_engine: Engine, docker_client: Any, tmp_path: Path) -> Iterator[Any]:
    """Builds images; they go again."""
    tags: list[str] = []

    def build(folder: str, dockerfile: str, **more: Any) -> str:
        tags.append(f"isolate-test-baked:{secrets.token_hex(4)}")
        path = tmp_path / f"{len(tags)}.Dockerfile"
        path.write_text(dockerfile)
        request = BuildRequest(tag=tags[-1], context=folder, dockerfile=str(path), network="host")
        real_engine.build_image(request, lambda _: None)
        return tags[-1]

    yield build
    for tag in reversed(tags):
        with suppress(docker.errors.NotFound):
            docker_client.remove_image(tag, force=True)


@pytest.mark.parametrize("more", [(), ("--isolate-no-cache",)], ids=["with snapshots", "without"])
def test_a_database_with_data_in_its_image_is_that_database(
    project: Project, images: Any, more: tuple[str, ...]
) -> None:
    base = images(f"{SERVICES}/postgres", (SERVICES / "postgres" / "Dockerfile").read_text())
    image = images(f"{SERVICES}/postgres", f"FROM {base}\n{POSTGRES}")
    project.conftest(f'db = service(postgres(image="{image}"))')
    project.tests(
        """
        def test_it(db):
            found = db.exec("psql", "-h", "127.0.0.1", "-U", "postgres", "-qAtc", "SELECT n FROM cups", check=True)
            assert found.stdout.strip() == "7"
            assert db.env["PGDATA"] == "/baked"
        """
    )

    result = project.run(*more)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["isolate: service 'db' (*) uses the data that its image has in /baked, *"])


def test_without_data_in_the_image_nothing_is_told(project: Project, images: Any) -> None:
    base = images(f"{SERVICES}/postgres", (SERVICES / "postgres" / "Dockerfile").read_text())
    image = images(f"{SERVICES}/postgres", f"FROM {base}\nENV PGDATA=/elsewhere\n")
    project.conftest(f'db = service(postgres(image="{image}"))')
    project.tests('def test_it(db): assert db.env["PGDATA"] == "/srv/postgresql/data"')

    result = project.run("--isolate-no-cache")

    result.assert_outcomes(passed=1)
    assert "uses the data" not in result.stdout.str()


@pytest.mark.parametrize("preset", ["mariadb", "mysql"])
def test_so_is_one_whose_image_has_data_in_its_usual_folder(project: Project, images: Any, preset: str) -> None:
    """A folder that the image declares as a volume: what was copied there is in the image all the same."""
    name = "mysql.Dockerfile" if preset == "mysql" else "Dockerfile"
    base = images(f"{SERVICES}/mariadb", (SERVICES / "mariadb" / name).read_text())
    baked = images(f"{SERVICES}/mariadb", f"FROM {base}\n{MARIADB}")
    image = images(
        f"{SERVICES}/mariadb", f"FROM {base}\nCOPY --from={baked} --chown=mysql:mysql /var/lib/baked /var/lib/mysql\n"
    )
    project.conftest(f'db = service({preset}(image="{image}"))')
    project.tests(
        """
        def test_it(db):
            found = db.exec("mariadb", "-NBe", "SHOW VARIABLES LIKE 'datadir'", check=True)
            assert found.stdout.split() == ["datadir", "/var/lib/mysql/"]
        """
    )

    result = project.run("--isolate-no-cache")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["isolate: service 'db' (*) uses the data that its image has in /var/lib/mysql, *"])


def test_a_folder_in_memory_does_not_hide_what_the_image_has_there(
    project: Project, images: Any, tmp_path: Path
) -> None:
    image = images(str(tmp_path), "FROM debian:bookworm-slim\nRUN mkdir -p /made/in /empty && echo 7 >/made/in/it\n")
    project.conftest(f'web = service("{image}", command=forever(), in_memory=["/made", "/empty", "/none"])')
    project.tests(
        """
        def test_it(web):
            assert web.exec("cat", "/made/in/it").stdout == "7\\n"
            kinds = {line.split()[1]: line.split()[0] for line in web.exec("cat", "/proc/mounts").stdout.splitlines()}
            assert ("/made" in kinds, kinds["/empty"], kinds["/none"]) == (False, "tmpfs", "tmpfs")
        """
    )

    result = project.run()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["isolate: service 'web' (*) keeps /made on disk, for its image has data there *"])
