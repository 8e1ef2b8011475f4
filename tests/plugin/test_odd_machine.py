"""Folders that cannot be used, a user without a home, files in other encodings: told as errors, with no traceback."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from plugin.conftest import WEB, Project, errors_of
from pytest_isolate.engine.docker.registry_login import find_login
from pytest_isolate.engine.docker.transport.discovery import read_docker_context

ONE = "def test_it(web): assert web.port"


def told(result: pytest.RunResult) -> str:
    """All that was printed; a traceback of ours is none of it."""
    text = f"{result.stdout.str()}\n{result.stderr.str()}"
    assert "INTERNALERROR" not in text
    assert "Traceback" not in text
    return text


def no_space(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def web(project: Project) -> Project:
    project.conftest(WEB)
    project.tests(ONE)
    return project


@pytest.mark.parametrize("kind", ["file", "dangling", "kernel"])
@pytest.mark.parametrize("how", ["plain", "reuse"])
def test_cache_folder_that_is_none_is_told(
    web: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "nowhere")
    folder = "/proc/nowhere" if kind == "kernel" else str(tmp_path / kind)
    monkeypatch.setenv("XDG_CACHE_HOME", folder)
    result = web.run(*(["--isolate-reuse"] if how == "reuse" else []))
    text = told(result)
    assert result.ret != pytest.ExitCode.OK
    assert f"{folder}/pytest-isolate" in text
    assert "cannot be used" in text
    assert "XDG_CACHE_HOME" in text or "remove it" in text


@pytest.mark.parametrize("where", ["mkstemp", "mkdir", "touch", "lock"])
def test_full_cache_folder_is_told(web: Project, cache: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(real: Any, find: Any) -> Any:
        return lambda *a, **k: no_space() if str(find(*a, **k)).startswith(str(cache)) else real(*a, **k)

    if where == "mkstemp":
        monkeypatch.setattr(tempfile, "mkstemp", full(tempfile.mkstemp, lambda *_, dir=None, **__: dir))
    elif where == "lock":
        monkeypatch.setattr(FileLock, "acquire", full(FileLock.acquire, lambda lock, *_, **__: lock.lock_file))
    else:
        monkeypatch.setattr(Path, where, full(getattr(Path, where), lambda path, *_, **__: path))
    result = web.run("--isolate-reuse")
    text = told(result)
    assert "cannot be used" in text
    assert "No space left on device" in text
    assert result.ret != pytest.ExitCode.OK


def test_full_temporary_folder_is_told(web: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", no_space)
    result = web.run()
    assert "the temporary folder cannot be used" in told(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_full_temporary_folder_is_told_with_xdist(web: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    web.write(
        "full.py",
        "import errno, tempfile",
        "def no_space(*_, **__): raise OSError(errno.ENOSPC, 'No space left on device')",
        "tempfile.mkdtemp = no_space",
    )
    monkeypatch.setenv("PYTHONPATH", str(web.path), prepend=os.pathsep)
    result = web.run_xdist("-p", "full")
    assert "the temporary folder cannot be used" in told(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_user_without_a_home_is_told(web: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    result = web.run()
    text = told(result)
    assert "this user has no home folder" in text
    assert "do     set HOME, or XDG_CACHE_HOME" in text
    assert result.ret != pytest.ExitCode.OK


# Where something removes the run's folder: once, in the process that comes there first.
CUT = """
import glob, shutil, tempfile
from pathlib import Path

def cut():
    try: Path("cut").touch(exist_ok=False)
    except FileExistsError: return
    for folder in glob.glob(tempfile.gettempdir() + "/pytest-isolate-*-*"):
        while Path(folder).exists():  # another process may write into it at this moment
            shutil.rmtree(folder, ignore_errors=True)

def on_call(engine, call):
    if call == {moment!r}: cut()

def pytest_isolate_engine(config):
    return open_fake(on_call)

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    if {moment!r} == "end": cut()

late = service(IMAGE, command=forever(), scope="function")
db = service(postgres(image=IMAGE, command=program("serve 5432"), ready=http("/"), snapshot=None, password="x"))
copy = fresh(db)
"""
FIRST = """
from conftest import cut
def test_first({name}):
    if {moment!r} == "test": cut()
def test_late(request): request.getfixturevalue("late")
"""


@pytest.mark.parametrize("how", ["alone", "xdist"])
@pytest.mark.parametrize(
    "moment", ["find_image", "create_network", "create_container", "test", "open_session", "remove_container", "end"]
)
def test_run_folder_that_is_removed_meanwhile_is_told(project: Project, moment: str, how: str) -> None:
    project.conftest(WEB, CUT.format(moment=moment), engine="")
    project.tests(FIRST.format(moment=moment, name="copy" if moment == "open_session" else "web"))
    folder = project.path / "temporary"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        result = project.run_xdist(workers=1) if how == "xdist" else project.run_subprocess()
    text = told(result)
    assert (project.path / "cut").exists()
    assert "FileNotFoundError" not in text
    assert "pytest_isolate/" not in text
    assert list(folder.glob("pytest-isolate-*")) == []
    if how == "alone":  # with workers each process has a fake engine of its own, and leaves to the controller's
        project.journal.assert_nothing_is_left()
    if moment in ("remove_container", "end"):
        result.assert_outcomes(passed=2)
    elif moment == "test":
        result.assert_outcomes(passed=1, failed=1)
        assert re.search(r"service 'late' .* could not be started: \S+ cannot be used\n  found  No such file", text)
        assert "let nothing remove it while it is in use" in text
    else:  # what opens the run may make the folder anew before anything was agreed upon
        assert result.ret == pytest.ExitCode.OK or "let nothing remove it while it is in use" in text


DEEP = 3_000
TOO_DEEP = {
    "list": "[services.web]\nimage = " + "[" * DEEP + "]" * DEEP,
    "table": "[services.web]\nenv = " + "{a=" * DEEP + "1" + "}" * DEEP,
    "dotted": "[services.web.env]\n" + ".".join("a" * DEEP) + " = 1",
    "header": "[services.web.env." + ".".join("a" * DEEP) + "]",
    "stack": "[services.web]\nimage='a'\n[stacks.hr]\nweb = 1\n" + ".".join("a" * DEEP) + " = 1",
}


@pytest.mark.parametrize("kind", TOO_DEEP)
def test_toml_that_is_nested_too_deeply_is_told(project: Project, kind: str) -> None:
    project.write("isolate.toml", TOO_DEEP[kind])
    project.tests(ONE)
    result = project.run()
    text = "\n".join(errors_of(result))
    told(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "isolate.toml" in text


def test_declaration_in_python_that_is_nested_too_deeply_is_told(project: Project) -> None:
    project.conftest("deep = 1\nfor _ in range(20000): deep = [deep]\nweb = service(IMAGE, memory=deep)")
    project.tests(ONE)
    result = project.run()
    told(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["isolate.toml", "pyproject.toml"])
def test_toml_in_another_encoding_is_told(project: Project, name: str, encoding: str) -> None:
    table = "services.web" if name == "isolate.toml" else "tool.pytest-isolate.services.web"
    (project.path / name).write_bytes(f"[{table}]\nimage = 'größe'\n".encode(encoding))
    project.write("pytest.ini", "[pytest]")
    project.tests(ONE)
    # Found by itself, pytest would read pyproject.toml first, and fail.
    result = project.run("-c", "pytest.ini")
    told(result)
    assert f"{name}:" in "\n".join(errors_of(result))
    assert "not a text in UTF-8" in "\n".join(errors_of(result))
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_pyproject_in_another_encoding_that_does_not_name_us_is_left_alone(project: Project) -> None:
    (project.path / "pyproject.toml").write_bytes("[project]\nname = 'größe'\n".encode("latin-1"))
    project.write("pytest.ini", "[pytest]")
    project.tests("def test_it(): pass")
    assert project.run("-c", "pytest.ini", isolate=False).ret == pytest.ExitCode.OK


def test_byte_order_mark_is_no_part_of_a_toml_file(project: Project) -> None:
    text = "\ufeff[services.web]\nimage = 'nowhere'\nprot = 1\n"
    (project.path / "isolate.toml").write_text(text, encoding="utf-8")
    project.tests(ONE)
    assert "unknown key 'prot'" in "\n".join(errors_of(project.run()))


def test_errors_show_no_records_of_ours(project: Project) -> None:
    project.conftest(
        """
        db = service(postgres("16"), password="hunter2")
        shop = stack(db=db)
        copy = fresh(member(shop, "db"))
        other = service(shop)
        none = stack(web=shop)
        """
    )
    project.tests("def test_it(copy, other, none): pass")
    result = project.run()
    text = told(result)
    assert "a service of a stack, which member() has made (declared at" in text
    assert "hunter2" not in text
    assert "Raw" not in text
    assert "Layer(" not in text


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/environ", "/proc/self/fdinfo", "fifo"])
def test_only_regular_files_are_copied(project: Project, path: str) -> None:
    os.mkfifo(project.path / "fifo")
    project.conftest(
        f"""
        from pathlib import Path
        web = service(IMAGE, command=program("serve 8000 hi"), port=8000, files={{"/data": Path("{path}")}})
        """
    )
    project.tests(ONE)
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = told(result)
    assert "cannot be used" in text
    assert "files, folders and links are copied, but no pipes, sockets or devices" in text


@pytest.mark.parametrize("target", ["fifo", "/dev/zero"])
def test_toml_that_is_no_regular_file_is_told(project: Project, target: str) -> None:
    os.mkfifo(project.path / "fifo")
    (project.path / "isolate.toml").symlink_to(target)
    project.tests(ONE)
    assert "isolate.toml cannot be read: not a regular file" in "\n".join(errors_of(project.run()))


@pytest.mark.parametrize("target", ["fifo", "/dev/zero"])
def test_variables_of_a_file_that_is_no_regular_one_are_told(project: Project, target: str) -> None:
    os.mkfifo(project.path / "fifo")
    (project.path / "odd").symlink_to(target)
    project.write("compose.yaml", "services:\n  web:\n    image: nowhere\n")
    project.conftest('shop = compose("compose.yaml", env_file="odd")')
    project.tests("def test_it(shop): pass")
    assert "not a regular file" in told(project.run())


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("folder", "Is a directory"),
        ("dangling", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
        ("large", "larger than 4 MiB"),
    ],
)
def test_toml_that_cannot_be_read_is_told(project: Project, kind: str, found: str) -> None:
    path = project.path / "isolate.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.write_bytes(b"#" * 5_000_000)
    else:
        path.symlink_to("gone" if kind == "dangling" else path)
    project.tests("def test_it(): pass")
    result = project.run()
    assert f"isolate.toml cannot be read: {found}" in "\n".join(errors_of(result))
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_large_pyproject_that_does_not_name_us_is_left_alone(project: Project) -> None:
    (project.path / "pyproject.toml").write_bytes(b"# more\n" * 1_000_000)
    project.write("pytest.ini", "[pytest]")
    project.tests("def test_it(): pass")
    assert project.run("-c", "pytest.ini", isolate=False).ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("name", "value"),
    [("A", "x\\u0000{web.port}"), ("A=B", "{web.port}"), ("", "{web.port}")],
    ids=["zero byte", "=", "empty"],
)
def test_variables_that_no_process_can_have_are_told(project: Project, name: str, value: str) -> None:
    project.write("isolate.toml", f'[services.web]\nimage = "i"\nport = 80\n[env]\n"{name}" = "{value}"\n')
    project.tests(ONE)
    # Variables are set before plugins of the same process could be in the way.
    result = project.run_subprocess()
    told(result)
    assert "env" in "\n".join(errors_of(result))
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: x\0y", "the character '\\x00' is in it"),
        ('a: "\\U00110000"', "not in range"),
        # "too large", or from Python 3.13 on "not in range".
        ('a: "\\UFFFFFFFF"', "YAML: "),
    ],
    ids=["zero byte", "beyond Unicode", "beyond a number"],
)
def test_compose_file_with_characters_that_are_none_is_told(project: Project, text: str, found: str) -> None:
    (project.path / "compose.yaml").write_text(f"services: {{}}\n{text}\n")
    project.conftest('shop = compose("compose.yaml")')
    project.tests("def test_it(shop): pass")
    result = project.run()
    assert "compose.yaml:2: file: cannot be read as YAML" in told(result)
    assert found in told(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_compose_file_by_a_name_with_a_zero_byte_is_told(project: Project) -> None:
    project.conftest('shop = compose("a\\0b")')
    project.tests("def test_it(shop): pass")
    assert "a name with a zero byte" in told(project.run())


@pytest.mark.parametrize("declared", ["service(IMAGE, ports=[deep])", "service(build=deep)", "variants(web=[deep])"])
def test_deep_nesting_is_told_wherever_it_stands(project: Project, declared: str) -> None:
    project.conftest(WEB, f"deep = 1\nfor _ in range(10_000): deep = [deep]\nodd = {declared}")
    project.tests(ONE)
    result = project.run()
    assert "nested too deeply" in told(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_full_folder_of_a_run_with_a_page_is_told(project: Project) -> None:
    project.conftest(
        WEB,
        """
        from pytest_isolate.running.report import records
        class Full(type(records.Path())):
            def open(self, *args, **options): raise OSError(28, "No space left on device")
        real = records.Journal.__init__
        def full(self, folder, worker):
            real(self, folder, worker)
            self._path = Full(self._path)
        records.Journal.__init__ = full
        """,
    )
    project.tests(ONE)
    result = project.run_subprocess("--isolate-report=page.html")
    result.assert_outcomes(passed=1)
    text = told(result)
    assert "the page of --isolate-report is not complete\n  found  [Errno 28] No space left on device" in text
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_text_that_is_no_unicode_is_told_with_the_service(project: Project) -> None:
    project.conftest(WEB.replace('ready=http("/")', r'files={"/a": "\udcff"}'))
    project.tests(ONE)
    text = told(project.run())
    assert "service 'web' (debian:bookworm-slim) could not be started: a text of it is no Unicode" in text


@pytest.mark.parametrize("name", ["line\nbreak", "\udcff"], ids=["line break", "not UTF-8"])
def test_folder_of_any_name_is_fine(project: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = project.path / name
    project.conftest(WEB, name=f"{name}/conftest.py")
    project.tests(ONE, name=f"{name}/test_it.py")
    monkeypatch.chdir(folder)
    result = project.run("--isolate-reuse", f"--rootdir={folder}")
    result.assert_outcomes(passed=1)


def test_pipe_in_the_place_of_docker_s_configuration_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert read_docker_context({"DOCKER_CONFIG": str(tmp_path)}, None) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert find_login("nowhere.invalid").content == {}
