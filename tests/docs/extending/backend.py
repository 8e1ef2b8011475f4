"""A project that uses the backend of docs/extending.md."""

from pathlib import Path
from tempfile import mkdtemp

import pytest
from fakes.programs import IMAGE, program

from pytest_isolate import command, fresh, service

# The fake engine runs what is asked over a session on this host.
FOLDER = Path(mkdtemp(dir=Path(__file__).parent)) / "data"
FOLDER.mkdir()
(FOLDER / "page").write_text("first")

files = service(IMAGE, command=program("serve 80"), port=80, copies="folder", database=str(FOLDER))
copy = fresh(files, init=command("sh", "-c", 'echo made > "$ISOLATE_DATABASE/by-init"'))


@pytest.mark.parametrize("_", range(3))
def test_each_test_has_a_copy_of_its_own(copy, _):
    own = Path(copy.database)
    assert own != FOLDER
    assert sorted(file.name for file in own.iterdir()) == ["by-init", "page"]
    assert (own / "page").read_text() == "first"
    (own / "page").write_text("changed")


def test_the_declared_one_stays(copy):
    assert (FOLDER / "page").read_text() == "first"
    assert not (FOLDER / "by-init").exists()
