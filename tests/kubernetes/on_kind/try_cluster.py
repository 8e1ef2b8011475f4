"""What is tried on a real cluster. Not collected here: the workflow names this file's folder with `try_*.py`."""

from __future__ import annotations

from urllib.request import urlopen

from pytest_isolate import Service, Stack


def get(service: Service, path: str = "/") -> str:
    return str(urlopen(f"http://{service.address}{path}", timeout=60).read().decode())


def test_services_know_each_other_and_have_their_files(web: Service, front: Service) -> None:
    assert (get(web), get(front, "/fetch/web/8000")) == ("hello", "hello")
    assert front.exec("cat", "/etc/note", check=True).stdout == "copied in"


def test_stacks_with_the_same_names(hr: Stack, sales: Stack) -> None:
    assert [get(s.web, "/env/NAME") for s in (hr, sales)] == ["hr", "sales"]


def test_a_restart_keeps_the_address(web: Service) -> None:
    before = web.address
    web.restart()
    assert (web.address, get(web)) == (before, "hello")


def test_faults(front: Service) -> None:
    with front.paused():
        pass
    assert get(front) == "hello"


def test_an_image_that_is_built_here_is_loaded_into_the_nodes(built: Service) -> None:
    """The program is the image's own, and no registry has that."""
    assert built.logs().strip() == "built here"
