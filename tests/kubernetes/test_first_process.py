"""The first process of containers in pods, in real containers: any image, any user."""

from __future__ import annotations

import io
import os
import re
import secrets
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE, program
from waiting import wait_for

from pytest_isolate.engine import kubernetes
from pytest_isolate.engine.api import BuildRequest, ContainerRequest, Engine, ExecResult
from pytest_isolate.model.identity import LABEL_RUN

pytestmark = [pytest.mark.engine, pytest.mark.linux]
FIRST = "/.isolate/first"
BINARIES = {"x86_64": "first-amd64", "aarch64": "first-arm64"}


class Held:
    """A container whose first process is ours."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self.engine = engine
        self.id = container_id

    def do(self, *words: str, given: bytes = b"", timeout_s: float = 30) -> ExecResult:
        """Run the binary once more beside the first process, with an input that does not end."""
        session = self.engine.open_session(self.id, [FIRST, *words], {})
        heard = {1: b"", 2: b""}
        try:
            session.send(given)
            while (piece := session.receive(timeout_s)) is not None:
                heard[piece[0]] += piece[1]
            code = session.exit_code()
        finally:
            session.close()
        return ExecResult(exit_code=code, stdout=heard[1].decode(), stderr=heard[2].decode())

    def run(self, *argv: str, variables: bytes = b"", given: bytes = b"") -> ExecResult:
        result = self.do("run", "it", given=command(argv, variables) + given)
        return ExecResult(
            exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr.partition("\n")[2] or result.stderr
        )

    def ask(self, *words: str) -> str:
        return self.do("ask", "it", *words).stdout

    def start(self, hosts: bytes = b"") -> ExecResult:
        return self.do("start", "it", given=b"%d\n%s" % (len(hosts), hosts))

    def state(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self.ask("state").split()[1:])

    def wait_until(self, state: str) -> dict[str, str]:
        return wait_for(lambda: (s := self.state())["state"] == state and s)

    def log(self) -> str:
        return self.engine.read_logs(self.id)

    def shell(self, command: str) -> str:
        return self.engine.run_command(self.id, ["sh", "-c", command]).stdout


def command(argv: Sequence[str], variables: bytes = b"") -> bytes:
    words = b"".join(word.encode() + b"\0" for word in argv)
    return b"%d\n%s%d\n%s" % (len(variables), variables, len(words), words)


Hold = Callable[..., Held]


@pytest.fixture
def hold(real_engine: Engine, tmp_path: Path) -> Iterator[Hold]:
    """Makes containers that wait for a word."""
    run = f"first-{secrets.token_hex(4)}"
    folder = tmp_path / "isolate"
    folder.mkdir()
    tmp_path.chmod(0o755)
    binary = Path(kubernetes.__file__).parent / "first_process" / BINARIES[os.uname().machine]
    (folder / "first").write_bytes(binary.read_bytes())
    (folder / "first").chmod(0o555)

    def make(argv: Sequence[str], image: str = IMAGE, **changes: Any) -> Held:
        number = secrets.token_hex(4)
        for name in (f"argv-{number}", "words"):
            (folder / name).write_bytes(b"".join(word.encode() + b"\0" for word in argv))
        given: Mapping[str, Any] = {
            "name": f"{run}-{number}",
            "image": image,
            "labels": {LABEL_RUN: run},
            "entrypoint": [FIRST, "hold", "it", f"/.isolate/argv-{number}"],
            "command": [],
            "binds": {str(folder): "/.isolate:ro"},
            **changes,
        }
        container_id = real_engine.create_container(ContainerRequest(**given))
        real_engine.start_container(container_id)
        held = Held(real_engine, container_id)
        wait_for(lambda: held.do("ask", "it", "state").exit_code == 0)
        return held

    yield make
    for container_id in real_engine.list_containers({LABEL_RUN: run}):
        real_engine.remove_container(container_id)


def archive(fill: Callable[[tarfile.TarFile], None], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        fill(tar)
    return buffer.getvalue()


def entry(name: str, **facts: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(made, key, value)
    return made


def add_file(tar: tarfile.TarFile, name: str, content: bytes, **facts: Any) -> None:
    tar.addfile(entry(name, size=len(content), **facts), io.BytesIO(content))


# -- the program's life -------------------------------------------------------------------------------------------


def test_it_waits_until_it_is_told_to_start(hold: Hold) -> None:
    held = hold(program("say up", "sleep 60"))
    assert held.state()["state"] == "created"
    assert held.log() == ""
    assert held.start().stdout.startswith("ok state=running starts=1 ")
    wait_for(lambda: held.log() == "up\n")


def test_the_program_has_the_containers_variables_and_folder(hold: Hold) -> None:
    held = hold(["sh", "-c", "echo $NONCE; pwd"], env={"NONCE": "given"}, **in_folder("/srv"))
    held.start()
    held.wait_until("ended")
    assert held.log() == "given\n/srv\n"


def in_folder(folder: str) -> dict[str, Any]:
    from pytest_isolate.model.service import ContainerSettings

    return {"settings": ContainerSettings(working_dir=folder)}


def test_its_code_is_told_and_its_last_words_are_in_the_log_by_then(hold: Hold) -> None:
    held = hold(["sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 3"])
    held.start()
    state = held.ask("wait")
    assert " code=3 signal=0 " in state
    assert held.log().endswith("line 1999\n")


def test_a_signal_that_ended_it_is_told(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.start()
    assert " state=ended starts=1 code=137 signal=9 " in held.ask("kill")


def test_moments_of_start_and_end_are_told(hold: Hold) -> None:
    held = hold(program("sleep 0.1"))
    began = time.time()
    held.start()
    state = held.wait_until("ended")
    assert began <= float(state["started"]) < float(state["ended"]) <= float(state["now"]) <= time.time()


def test_it_starts_anew_with_its_files(hold: Hold) -> None:
    held = hold(program("once /srv/state/made", "say done"))
    for times in (1, 2):
        held.start()
        assert held.wait_until("ended")["starts"] == str(times)
    assert held.log() == "made\ndone\ndone\n"


def test_starting_what_runs_is_fine(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    first, second = held.start().stdout, held.start().stdout
    assert first.split()[1:3] == second.split()[1:3] == ["state=running", "starts=1"]


@pytest.mark.parametrize(
    ("argv", "code", "why"),
    [
        (["no-such-program"], 127, 'exec: "no-such-program": executable file not found in $PATH'),
        (["/no/such/program"], 127, 'exec: "/no/such/program": executable file not found in $PATH'),
        (["/etc/passwd"], 126, 'exec: "/etc/passwd": Permission denied'),
    ],
)
def test_a_program_that_is_not_there_does_not_start(hold: Hold, argv: list[str], code: int, why: str) -> None:
    held = hold(argv)
    result = held.start()
    assert (result.exit_code, result.stdout) == (1, f"code={code} {why}\n")
    assert (held.state()["state"], held.state()["code"]) == ("created", str(code))


def test_it_is_asked_to_stop_by_a_signal_and_killed_after_a_while(hold: Hold) -> None:
    polite, stubborn = hold(program("say up", "sleep 60")), hold(program("stubborn", "say up", "sleep 60", "sleep 60"))
    for held in (polite, stubborn):
        held.start()
        wait_for(lambda held=held: held.log() == "up\n")
    assert " code=0 signal=0 " in polite.ask("stop", "15", "20")
    began = time.monotonic()
    assert " code=137 signal=9 " in stubborn.ask("stop", "15", "1")
    assert 0.9 < time.monotonic() - began < 20


def test_stopping_by_another_signal(hold: Hold) -> None:
    held = hold(["sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.05; done"])
    held.start()
    wait_for(lambda: held.log() == "up\n")
    assert " code=5 signal=0 " in held.ask("stop", "10", "20")


@pytest.mark.parametrize("word", [("stop", "15", "1"), ("kill",)])
def test_stop_and_kill_of_what_does_not_run_are_fine(hold: Hold, word: tuple[str, ...]) -> None:
    held = hold(program("exit 0"))
    assert held.ask(*word).startswith("ok state=created ")
    held.start()
    held.wait_until("ended")
    assert held.ask(*word).startswith("ok state=ended ")


def test_what_the_program_has_started_ends_with_it(hold: Hold) -> None:
    held = hold(["sh", "-c", "(trap '' TERM; sleep 86399) & (setsid sleep 86398 &) ; sleep 2; exit 4"])
    held.start()
    session = held.engine.open_session(held.id, [FIRST, "run", "it"], {})
    session.send(command(["sh", "-c", "echo up; sleep 86397"]))
    heard = dict(session.receive(30) or () for _ in range(2))
    assert (heard[1], heard[2][:17]) == (b"up\n", b"ok state=running ")
    assert held.wait_until("ended")["code"] == "4"
    assert session.receive(30) is None
    assert "8639" not in held.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -v grep | sed s/sed.*//")
    session.close()


def test_orphans_are_reaped(hold: Hold) -> None:
    held = hold(["sh", "-c", "(sh -c 'sleep 0.1; exit 1' &); sleep 60"])
    held.start()
    zombies = "cat /proc/[0-9]*/stat | grep -c ') Z '; ls -d /proc/[0-9]* | wc -l"
    time_of_start = held.state()["started"]
    wait_for(lambda: "sleep 0.1" not in held.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").replace(" ; ", ""))
    assert held.shell(zombies).splitlines()[0] == "0"
    assert held.state()["started"] == time_of_start


def test_pause_stops_every_process_and_resume_lets_them_go_on(hold: Hold) -> None:
    held = hold(["sh", "-c", "while :; do sleep 0.01; echo x; done & while :; do sleep 0.01; echo y; done"])
    held.start()
    wait_for(lambda: {*held.log().split()} == {"x", "y"})
    assert held.ask("pause").startswith("ok state=paused ")
    assert held.ask("pause") == "paused already\n"
    before = wait_for(lambda: (log := held.log()) == held.log() and log)
    assert held.run("true").exit_code == 125
    assert held.log() == before
    assert held.ask("resume").startswith("ok state=running ")
    assert held.ask("resume") == "not paused\n"
    wait_for(lambda: len(held.log()) > len(before))


def test_pause_of_what_does_not_run_is_refused(hold: Hold) -> None:
    held = hold(program("exit 0"))
    assert (held.ask("pause"), held.ask("resume")) == ("not running\n", "not running\n")


def test_what_is_paused_can_be_stopped_and_killed(hold: Hold) -> None:
    held = hold(program("say up", "sleep 60"))
    for word, told in ((("stop", "15", "10"), " code=0 "), (("kill",), " code=137 ")):
        held.start()
        wait_for(lambda: "running" in held.state()["state"])
        wait_for(lambda: held.log().endswith("up\n"))
        held.ask("pause")
        assert told in held.ask(*word)


def test_those_who_wait_hear_of_the_end_each(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.start()
    heard: list[str] = []
    threads = [threading.Thread(target=lambda: heard.append(held.ask("wait"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_for(lambda: held.shell("cat /proc/[0-9]*/cmdline").count("wait\0") >= 5)
    held.ask("kill")
    for thread in threads:
        thread.join()
    assert [" code=137 signal=9 " in told for told in heard] == [True] * 5


def test_memory_that_is_full_is_told(hold: Hold) -> None:
    held = hold(program("eat"), memory_bytes=20 * 1024**2)
    held.start()
    state = held.wait_until("ended")
    assert (state["code"], state["oom"]) == ("137", "1")
    held.start()
    assert held.ask("kill").count(" oom=0 ") == 1 or held.state()["oom"] == "1"


def test_it_ends_with_the_programs_code_when_it_is_told_to(hold: Hold) -> None:
    held = hold(["sh", "-c", "trap 'exit 6' TERM; echo up; while :; do sleep 0.05; done"])
    held.start()
    wait_for(lambda: held.log() == "up\n")
    held.do("ask", "it", "end")
    assert wait_for(lambda: held.engine.inspect_container(held.id).exit_code) == 6


def test_a_request_of_the_node_to_stop_reaches_the_program_and_ends_both(hold: Hold) -> None:
    held = hold(["sh", "-c", "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.05; done"])
    held.start()
    wait_for(lambda: held.log() == "up\n")
    held.engine.stop_container(held.id, 20)
    assert (held.engine.inspect_container(held.id).exit_code, held.log()) == (7, "up\nasked\n")


def test_a_request_to_stop_before_the_start_ends_it_at_once(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.engine.stop_container(held.id, 20)
    assert held.engine.inspect_container(held.id).exit_code == 128 + 15


# -- any image, any user ------------------------------------------------------------------------------------------


def test_it_runs_in_an_image_that_has_nothing(hold: Hold, real_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "Dockerfile").write_text("FROM scratch\nLABEL first=x\nCOPY Dockerfile /nothing\n")
    tag = f"isolate-first-{secrets.token_hex(4)}:1"
    request = BuildRequest(tag=tag, context=str(tmp_path / "empty"), dockerfile=str(tmp_path / "empty" / "Dockerfile"))
    real_engine.build_image(request, lambda _: None)
    try:
        held = hold([FIRST, "cat", "/made/by/tar"], image=tag)
        assert held.do("unpack", "/", given=archive(lambda tar: add_file(tar, "made/by/tar", b"kept\n"))).exit_code == 0
        held.start()
        held.wait_until("ended")
        assert held.log() == "kept\n"
        real_engine.remove_container(held.id)
    finally:
        real_engine.remove_image(tag)


def test_it_runs_as_another_user_without_rights(hold: Hold) -> None:
    held = hold(program("say up", "sleep 60"), user="1000:1000", cap_drop=("ALL",))
    given = archive(lambda tar: add_file(tar, "tmp/app/conf", b"x", uid=0, gid=0, mode=0o640))
    assert held.do("unpack", "/", given=given).exit_code == 0
    assert held.do("stat", "/tmp/app/conf").stdout == "f 0640 1000 1000 1\n"
    held.start()
    wait_for(lambda: held.log() == "up\n")
    assert held.ask("pause").startswith("ok state=paused ")
    assert " code=0 " in held.ask("stop", "15", "10")
    refused = held.do("unpack", "/etc", given=given)
    assert (refused.exit_code, refused.stderr) == (1, "tmp/app/conf: Permission denied\n")


def test_another_user_of_the_container_is_not_obeyed(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.start()
    told = held.shell(f"setpriv --reuid 1000 --clear-groups {FIRST} ask it kill 2>&1; echo code $?")
    assert told.endswith("code 1\n")
    assert held.state()["state"] == "running"


# -- commands beside it -------------------------------------------------------------------------------------------


def test_a_command_has_its_variables_and_what_follows_them_as_input(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.start()
    argv = ["sh", "-c", "echo $WORD $PGPASSWORD; read line; echo $line; exit 3"]
    result = held.run(*argv, variables=b"WORD=given\0PGPASSWORD=a secret\0", given=b"input\n")
    assert (result.exit_code, result.stdout) == (3, "given a secret\ninput\n")


def test_a_command_that_is_not_there_says_so(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.start()
    result = held.run("no-such-program")
    assert (result.exit_code, result.stderr) == (127, 'exec: "no-such-program": executable file not found in $PATH\n')


def test_a_command_beside_a_program_that_does_not_run_is_refused(hold: Hold) -> None:
    held = hold(program("exit 0"))
    for state in ("created", "ended"):
        result = held.run("true")
        assert (result.exit_code, result.stderr.split()[:2]) == (125, ["ok", f"state={state}"])
        held.start()
        held.wait_until("ended")


# -- files --------------------------------------------------------------------------------------------------------

DEEP = "/".join(["a-folder-with-a-long-name-of-its-own"] * 6)


def fill(tar: tarfile.TarFile) -> None:
    tar.addfile(entry("srv/app", type=tarfile.DIRTYPE, mode=0o750, uid=12, gid=34))
    add_file(tar, "srv/app/run", b"#!/bin/sh\n", mode=0o4755, uid=1000, gid=100, mtime=1_000_000_000)
    add_file(tar, "srv/app/empty", b"", mode=0o600)
    add_file(tar, f"srv/{DEEP}/file", b"deep\n", mode=0o644)
    tar.addfile(entry("srv/app/link", type=tarfile.SYMTYPE, linkname="run"))
    tar.addfile(entry("srv/app/far", type=tarfile.SYMTYPE, linkname=f"/srv/{DEEP}/file"))
    tar.addfile(entry("srv/app/hard", type=tarfile.LNKTYPE, linkname="srv/app/run"))
    tar.addfile(entry("srv/app/pipe", type=tarfile.FIFOTYPE, mode=0o622))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_an_archive_is_unpacked_with_modes_owners_and_links(hold: Hold, kind: int) -> None:
    held = hold(program("sleep 60"))
    assert held.do("unpack", "/", given=archive(fill, kind)) == ExecResult(exit_code=0, stdout="", stderr="")
    told = held.shell("cd /srv/app; stat -c '%A %u %g %n' . * | sort -k4; stat -c %Y run; stat -c %h hard; cat far")
    assert told.splitlines() == [
        "drwxr-x--- 12 34 .",
        "-rw------- 0 0 empty",
        "lrwxrwxrwx 0 0 far",
        "-rwsr-xr-x 1000 100 hard",
        "lrwxrwxrwx 0 0 link",
        "prw--w--w- 0 0 pipe",
        "-rwsr-xr-x 1000 100 run",
        "1000000000",
        "2",
        "deep",
    ]


def test_what_is_there_is_replaced_and_links_to_folders_are_followed(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.shell("ln -s /etc/passwd /srv/file; mkdir /srv/real; ln -s real /srv/folder")

    def fill(tar: tarfile.TarFile) -> None:
        add_file(tar, "srv/file", b"ours\n")
        tar.addfile(entry("srv/folder", type=tarfile.DIRTYPE, mode=0o755))
        add_file(tar, "srv/folder/new", b"new\n")

    assert held.do("unpack", "/", given=archive(fill)).exit_code == 0
    assert held.shell("cat /srv/file /srv/real/new; head -c4 /etc/passwd") == "ours\nnew\nroot"


def test_a_large_archive_comes_whole(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    content = os.urandom(1 << 20) * 50 + b"odd"
    given = archive(lambda tar: [add_file(tar, f"srv/{n}", content[: len(content) - n]) for n in range(2)])
    assert held.do("unpack", "/", given=given, timeout_s=120).exit_code == 0
    import hashlib

    expected = [hashlib.sha256(content[: len(content) - n]).hexdigest() for n in range(2)]
    assert re.findall("[0-9a-f]{64}", held.shell("sha256sum /srv/0 /srv/1")) == expected


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"not an archive".ljust(512, b"\0"), "it is no tar archive, or damaged"),
        (archive(lambda tar: add_file(tar, "../etc/evil", b"x")), "a name in it leads out of the folder"),
        (archive(lambda tar: add_file(tar, "a/../../evil", b"x")), "a name in it leads out of the folder"),
    ],
)
def test_what_is_no_good_archive_is_refused(hold: Hold, given: bytes, why: str) -> None:
    result = hold(program("sleep 60")).do("unpack", "/srv", given=given)
    assert (result.exit_code, result.stderr) == (1, f"the archive cannot be unpacked: {why}\n")


def test_files_come_out_as_they_went_in(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    assert held.do("unpack", "/", given=archive(fill)).exit_code == 0
    assert held.do("unpack", "/copy", given=archive(fill)).stderr == "/copy: No such file or directory\n"
    held.shell("mkdir /copy; chmod 700 /srv")
    packed = held.engine.run_binary_command(held.id, [FIRST, "pack", "/srv/"])
    assert (packed.exit_code, packed.stderr) == (0, b"")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        found = {member.name: member for member in tar.getmembers()}
        assert tar.extractfile(f"srv/{DEEP}/file").read() == b"deep\n"  # type: ignore[union-attr]
    assert (found["srv"].mode, found["srv/app"].uid, found["srv/app"].isdir()) == (0o700, 12, True)
    assert (oct(found["srv/app/run"].mode), found["srv/app/run"].mtime) == ("0o4755", 1_000_000_000)
    assert (found["srv/app/far"].linkname, found["srv/app/pipe"].isfifo()) == (f"/srv/{DEEP}/file", True)
    assert held.engine.run_binary_command(held.id, [FIRST, "pack", "/nothing"]).exit_code == 2


def test_paths_are_told(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.shell("cd /srv; mkdir -p a/b; ln -s a/b link; ln -s nowhere broken; echo hello > file; chmod 1770 a")
    told = [held.do("stat", f"/srv/{name}").stdout for name in ("a", "file", "link", "broken")]
    assert [text.split()[:2] for text in told] == [["d", "1770"], ["f", "0644"], ["l", "0777"], ["l", "0777"]]
    assert (told[2].splitlines()[1], told[3].splitlines()[1]) == ("/srv/a/b", "nowhere")
    assert (held.do("stat", "/srv/none").exit_code, held.do("stat", "/srv/file/below").exit_code) == (2, 2)


def test_a_table_of_hosts_is_written_before_the_program_starts(hold: Hold) -> None:
    held = hold(["sh", "-c", "getent hosts my_Db web"])
    held.start(b"127.0.0.1 localhost\n10.1.2.3 my_Db\n10.1.2.4 web\n")
    held.wait_until("ended")
    assert [line.split() for line in held.log().splitlines()] == [["10.1.2.3", "my_Db"], ["10.1.2.4", "web"]]
    assert held.do("hosts", given=b"14\n10.1.2.5 once\n").exit_code == 0
    assert held.shell("cat /etc/hosts") == "10.1.2.5 once\n"


def test_folders_are_made_that_the_image_has_not(hold: Hold) -> None:
    folders = ["/data/of/it", "/etc", "/srv/"]
    held = hold(program("sleep 60"), entrypoint=[FIRST, "hold", "it", "/.isolate/words", *folders])
    assert held.do("stat", "/data/of/it").stdout == "d 0755 0 0 4096\n"
    assert held.shell("cat /etc/debian_version").startswith("12")


def test_an_empty_file_for_all_is_made(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    held.do("touch", "/srv/hosts")
    assert held.do("stat", "/srv/hosts").stdout == "f 0666 0 0 0\n"


def test_what_is_said_wrongly_is_refused(hold: Hold) -> None:
    held = hold(program("sleep 60"))
    assert held.ask("nonsense") == "no such word\n"
    assert held.do("nonsense").exit_code == 2
    with suppress(OSError):
        assert held.do("ask", "another", "state").stderr.startswith("no first process answers")
