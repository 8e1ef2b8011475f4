"""Speaks to the first process of a pod (first_process/first.c), by exec of the same binary in its container."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from pytest_isolate.engine.api import BinaryExecResult, ContainerUsage, PathFacts, PathOwner
from pytest_isolate.engine.kubernetes.api_errors import ApiError, ObjectMissing
from pytest_isolate.engine.kubernetes.objects.image_config import encode_words
from pytest_isolate.engine.kubernetes.objects.manifests import FIRST
from pytest_isolate.engine.kubernetes.objects.pod_template import SERVICE
from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
    from pytest_isolate.engine.kubernetes.transport.exec_stream import ExecStream

_ANSWER_TIMEOUT_S = 60.0
_KILLED = 137
_MISSING = 2  # the code of `stat` and `pack` for a path where nothing is
_MOST_FACTS = 1 << 20
# The two kinds of control groups (cgroups(7)); those that are not there are left out.
_USAGE = (
    *("memory.current", "memory.stat", "cpu.stat"),
    *("memory/memory.usage_in_bytes", "memory/memory.stat", "cpuacct/cpuacct.usage"),
)
# Numbers on Linux. The host of the tests may be another system.
_SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "ALRM": 14, "TERM": 15, "CONT": 18,
    "WINCH": 28, "PWR": 30, "RTMIN": 34,
}  # fmt: skip


class ProgramState(Struct, frozen=True, kw_only=True):
    """State of a service's program, as the first process tells it. Moments are those of the node's clock."""

    state: str  # created, running, paused, ended
    starts: int
    exit_code: int
    is_out_of_memory: bool
    started_at: float
    ended_at: float
    now: float

    @property
    def is_running(self) -> bool:
        """True where it has not ended; what is paused has not."""
        return self.state in ("running", "paused")


def read_state(line: str) -> ProgramState:
    """The state in an answer such as `ok state=running starts=1 ...`."""
    facts = dict(word.split("=", 1) for word in line.split()[1:])
    return ProgramState(
        state=facts["state"],
        starts=int(facts["starts"]),
        exit_code=int(facts["code"]),
        is_out_of_memory=facts["oom"] == "1",
        started_at=float(facts["started"]),
        ended_at=float(facts["ended"]),
        now=float(facts["now"]),
    )


def signal_number(name: str) -> int:
    """The number of a signal as images name it: SIGINT, INT, 2, SIGRTMIN+3; that of SIGTERM for none."""
    if name.isdecimal():
        return int(name)
    word, _, further = name.upper().removeprefix("SIG").partition("+")
    return _SIGNALS.get(word, _SIGNALS["TERM"]) + (int(further) if further.isdecimal() else 0)


def counted(content: bytes) -> bytes:
    """A text behind its length: older servers do not pass on the end of an input."""
    return b"%d\n%s" % (len(content), content)


class FirstControl:
    """The first processes of the pods of a cluster."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    # -- the program -----------------------------------------------------------------------------------------------

    def state(self, pod: str) -> ProgramState:
        """State of the program at this moment."""
        return self._tell(pod, "a container could not be inspected", "state")

    def wait(self, pod: str) -> ExecStream:
        """A line on which the state comes when the program has ended; at once where it does not run."""
        return self._open(pod, ["ask", pod, "wait"])

    def start(self, pod: str, hosts: str) -> ProgramState:
        """Start the program, with this table of hosts; one that runs is left alone."""
        what = "a container could not be started"
        result = self._do(pod, ["start", pod], counted(hosts.encode()), what, is_repeatable=True)
        return _read_answer(result, what)

    def write_hosts(self, pod: str, hosts: str) -> None:
        """Give a program that runs another table of hosts."""
        what = "names of neighbours could not be given to a container"
        _check(self._do(pod, ["hosts"], counted(hosts.encode()), what, is_repeatable=True), what)

    def stop(self, pod: str, signal: str, timeout_s: int) -> ProgramState:
        """Ask the program to stop, and kill it after the time-out."""
        words = ("stop", str(signal_number(signal)), str(timeout_s))
        return self._tell(pod, "a container could not be stopped", *words, timeout_s=_ANSWER_TIMEOUT_S + timeout_s)

    def kill(self, pod: str) -> ProgramState:
        """Kill the program, and return when it has ended."""
        return self._tell(pod, "a container could not be killed", "kill")

    def pause(self, pod: str) -> ProgramState:
        """Freeze all processes of the container; EngineError where it does not run, or is paused."""
        return self._tell(pod, "a container could not be paused", "pause", is_repeatable=False)

    def resume(self, pod: str) -> ProgramState:
        """Let them go on; EngineError where they are not paused."""
        return self._tell(pod, "a container could not be unpaused", "resume", is_repeatable=False)

    def _tell(
        self, pod: str, what: str, *words: str, timeout_s: float = _ANSWER_TIMEOUT_S, is_repeatable: bool = True
    ) -> ProgramState:
        result = self._do(pod, ["ask", pod, *words], b"", what, timeout_s=timeout_s, is_repeatable=is_repeatable)
        return _read_answer(result, what)

    # -- commands beside it ----------------------------------------------------------------------------------------

    def run(self, pod: str, argv: Sequence[str], *, is_held: bool = True) -> BinaryExecResult:
        """Run a command to its end; EngineError where the program does not run."""
        session = self.open_session(pod, argv, {}, is_held=is_held)
        try:
            heard = {1: bytearray(), 2: bytearray()}
            while (piece := session.receive(None)) is not None:
                heard[piece[0]] += piece[1]
            return BinaryExecResult(exit_code=session.exit_code(), stdout=bytes(heard[1]), stderr=bytes(heard[2]))
        finally:
            session.close()

    def open_session(
        self, pod: str, argv: Sequence[str], env: Mapping[str, str], *, is_held: bool = True
    ) -> PodSession:
        """Start a command, and talk to it. Without a first process of ours it is the cluster's own exec."""
        what = f"the command {argv[0]!r} could not be run in a container"
        if not is_held:
            surroundings = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
            return PodSession(self._client.open_exec(pod, SERVICE, [*surroundings, *argv], stdin=True), [])
        variables = encode_words([f"{name}={value}" for name, value in env.items()])
        stream = self._open(pod, ["run", pod], what)
        try:
            stream.send(counted(variables) + counted(encode_words(argv)))
            return PodSession(stream, _read_greeting(stream, what))
        except BaseException:
            stream.close()
            raise

    # -- files -----------------------------------------------------------------------------------------------------

    def unpack(self, pod: str, archive: bytes | Iterable[bytes], folder: str) -> None:
        """Unpack a tar archive in a folder of a container."""
        what = "files could not be copied into a container"
        pieces = (archive,) if isinstance(archive, bytes) else archive
        # Without whole blocks, and an end, the reader would wait for more.
        result = self._do(pod, ["unpack", folder], _with_end(pieces), what, is_repeatable=False)
        if result.exit_code and b"No such file or directory" in result.stderr:
            raise ObjectNotFound(what, found=_words_of(result))
        _check(result, what)

    def pack(self, pod: str, path: str, file: Path, most_bytes: int) -> bool:
        """Save a file or folder of a container as a tar archive on this host; False where it takes more bytes."""
        what = f"{path} could not be copied out of a container"
        stream, size, words = self._open(pod, ["pack", path], what), 0, bytearray()
        try:
            with file.open("wb") as target:
                while (piece := stream.receive(_ANSWER_TIMEOUT_S)) is not None:
                    if piece[0] == 2:
                        words += piece[1]
                        continue
                    size += len(piece[1])
                    if size > most_bytes:
                        return False
                    target.write(piece[1])
            code = stream.exit_code()
        finally:
            stream.close()
        if code == _MISSING:
            raise ObjectNotFound(what, found=words.decode(errors="replace").strip())
        _check(BinaryExecResult(exit_code=code, stdout=b"", stderr=bytes(words)), what)
        return True

    def find_path(self, pod: str, path: str) -> PathFacts | None:
        """A file or folder of a container; None where there is none."""
        found = self._stat(pod, path)
        if found is None:
            return None
        kind, mode, target = found[0], int(found[1], 8), found[5] if len(found) > 5 else path
        return PathFacts(path=target, is_folder=kind == "d", is_link=kind == "l", mode=mode)

    def read_owner(self, pod: str, path: str) -> PathOwner:
        """Owner of a file or folder of a container."""
        found = self._stat(pod, path)
        if found is None:
            raise ObjectNotFound(f"{path} could not be looked at in a container", found="there is no such file")
        return PathOwner(int(found[2]), int(found[3]))

    def _stat(self, pod: str, path: str) -> list[str] | None:
        what = f"{path} could not be looked at in a container"
        result = self._do(pod, ["stat", path], b"", what, is_repeatable=True)
        if result.exit_code == _MISSING:
            return None
        _check(result, what)
        line, _, rest = result.stdout.decode("utf-8", "surrogateescape").partition("\n")
        return [*line.split(), *([rest.rstrip("\n")] if rest else [])]

    def read_usage(self, pod: str) -> ContainerUsage | None:
        """Memory and processor time of a container; None where its control group is not to be seen."""
        what = "a container's usage could not be read"
        paths = [f"/sys/fs/cgroup/{name}" for name in _USAGE]
        return parse_usage(self._do(pod, ["cat", *paths], b"", what, is_repeatable=True).stdout.decode())

    # -- the line --------------------------------------------------------------------------------------------------

    def _open(self, pod: str, words: Sequence[str], what: str = "") -> ExecStream:
        try:
            return self._client.open_exec(pod, SERVICE, [FIRST, *words], stdin=True)
        except ObjectMissing as error:
            raise ObjectNotFound(what or error.what, found=error.found) from error

    def _do(
        self,
        pod: str,
        words: Sequence[str],
        given: bytes | Iterable[bytes],
        what: str,
        *,
        timeout_s: float = _ANSWER_TIMEOUT_S,
        is_repeatable: bool,
    ) -> BinaryExecResult:
        """Run the binary to its end. It is run once more, where that does no harm, if it was killed or cut off.

        It is killed at the moment when the program ends, and with it all that seems to be a part of it; it is cut off
        by a server that restarts.
        """
        pieces = (given,) if isinstance(given, bytes) else given
        try:
            result = self._do_once(pod, words, pieces, what, timeout_s)
            is_cut = result.exit_code == _KILLED and not result.stdout
        except EngineUnreachable:
            if not is_repeatable:
                raise
            is_cut = True
        return self._do_once(pod, words, pieces, what, timeout_s) if is_cut and is_repeatable else result

    def _do_once(
        self, pod: str, words: Sequence[str], pieces: Iterable[bytes], what: str, timeout_s: float
    ) -> BinaryExecResult:
        stream = self._open(pod, words, what)
        heard = {1: bytearray(), 2: bytearray()}
        try:
            with _sending(stream, pieces):
                while (piece := stream.receive(timeout_s)) is not None:
                    heard[piece[0]] += piece[1][: _MOST_FACTS - len(heard[piece[0]])]
            return BinaryExecResult(exit_code=stream.exit_code(), stdout=bytes(heard[1]), stderr=bytes(heard[2]))
        finally:
            stream.close()


class PodSession:
    """A command in a container, with its input and output open."""

    def __init__(self, stream: ExecStream, first: Sequence[tuple[int, bytes]]) -> None:
        self._stream = stream
        self._first = deque(first)

    def send(self, text: bytes) -> None:
        self._stream.send(text)

    def receive(self, timeout_s: float | None) -> tuple[int, bytes] | None:
        if self._first:
            return self._first.popleft()
        try:
            return self._stream.receive(timeout_s)
        except EngineError as error:
            if timeout_s is not None and "no output within" in str(error):
                raise EngineError(
                    "a command in a container was asked", found=f"no answer within {timeout_s:g} s"
                ) from error
            raise

    def exit_code(self) -> int:
        try:
            return self._stream.exit_code()
        except ApiError:
            return _KILLED  # it ended together with its container

    def close(self) -> None:
        self._stream.close()


def _read_greeting(stream: ExecStream, what: str) -> list[tuple[int, bytes]]:
    """Read the first line of stderr, which answers whether the program runs; return what came beside it."""
    line, beside = b"", []
    while b"\n" not in line:
        piece = stream.receive(_ANSWER_TIMEOUT_S)
        if piece is None:
            found = line.decode(errors="replace") or f"it ended with code {stream.exit_code()}"
            raise EngineError(what, found=found)
        if piece[0] == 2:
            line += piece[1]
        else:
            beside.append(piece)
    greeting, _, rest = line.partition(b"\n")
    if not greeting.startswith(b"ok "):
        raise EngineError(what, found=greeting.decode(errors="replace"))
    state = read_state(greeting.decode()).state
    if state != "running":
        found = "its container is paused" if state == "paused" else f"its container is not running: it is {state}"
        raise EngineError(what, found=found)
    return [*([(2, rest)] if rest else []), *beside]


def _read_answer(result: BinaryExecResult, what: str) -> ProgramState:
    answer = result.stdout.decode(errors="replace")
    if result.exit_code or not answer.startswith("ok "):
        raise EngineError(what, found=_words_of(result))
    return read_state(answer)


def _check(result: BinaryExecResult, what: str) -> None:
    if result.exit_code:
        raise EngineError(what, found=_words_of(result))


def _words_of(result: BinaryExecResult) -> str:
    words = (result.stdout + result.stderr).decode(errors="replace").strip()
    return words or f"the first process ended with code {result.exit_code}"


def parse_usage(text: str) -> ContainerUsage | None:
    """Usage by the files of a control group, one after the other."""
    found = re.match(r"(\d+)\n", text)
    idle = max(map(int, re.findall(r"^(?:total_)?inactive_file (\d+)$", text, re.MULTILINE)), default=0)
    used_us, used_ns = re.search(r"^usage_usec (\d+)$", text, re.MULTILINE), re.search(r"\n(\d+)\n\Z", text)
    if not found or not (used_us or used_ns):
        return None
    cpu_s = int(used_us[1]) / 1e6 if used_us else int(used_ns[1]) / 1e9 if used_ns else 0.0
    return ContainerUsage(memory_bytes=max(0, int(found[1]) - idle), cpu_s=cpu_s)


_BLOCK = 512


def _with_end(pieces: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        yield piece
    yield bytes(-size % _BLOCK + 2 * _BLOCK)


@contextmanager
def _sending(stream: ExecStream, pieces: Iterable[bytes]) -> Iterator[None]:
    """Send while the answer is being read: a command that says something of a long input would wait for its reader.

    An error of sending is left to the command's own words and code; one of the pieces themselves is raised.
    """
    if isinstance(pieces, tuple) and sum(map(len, pieces)) < 1 << 16:
        for piece in filter(None, pieces):
            stream.send(piece)
        yield
        return
    failures: list[BaseException] = []
    thread = threading.Thread(target=_send_all, args=(stream, pieces, failures), daemon=True)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def _send_all(stream: ExecStream, pieces: Iterable[bytes], failures: list[BaseException]) -> None:
    try:
        for piece in pieces:
            try:
                stream.send(piece)
            except EngineError:
                return  # the command has ended, and says why
    except BaseException as error:  # raised in the thread that reads
        failures.append(error)
        stream.close()


def offset_of(state: ProgramState, before: float, after: float) -> float:
    """Seconds by which a node's clock is ahead, as far as that is certain: an answer takes its time."""
    offset, certain = state.now - (before + after) / 2, (after - before) / 2 + 0.05
    return offset if abs(offset) > certain else 0.0
