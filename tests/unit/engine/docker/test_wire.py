"""The Docker Engine API as values."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.engine.api import ContainerRequest, ContainerUsage, LogLine, PortBinding, Progress
from pytest_isolate.engine.docker.dialects import api_version
from pytest_isolate.engine.docker.frames import log_lines, moment, split_frames
from pytest_isolate.engine.docker.refusals import refusal_error
from pytest_isolate.engine.docker.wire import PullCount, build_step, container_body, container_state, container_usage
from pytest_isolate.errors import EngineError, ObjectNotFound, PortTaken, SubnetTaken

DESKTOP = "Ports are not available: exposing port TCP 127.0.0.1:80 -> 0.0.0.0:0: listen tcp 127.0.0.1:80: bind:"
GVPROXY = 'something went wrong with the request: "{}"'
ONE_USAGE = "Only one usage of each socket address (protocol/network address/port) is normally permitted."
FORBIDDEN = "An attempt was made to access a socket in a way forbidden by its access permissions."
IN_GERMAN = "Normalerweise darf jede Socketadresse nur jeweils einmal verwendet werden."
frames_of_two = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=8)


def encode(frames: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack(">BBBBL", stream, 0, 0, 0, len(text)) + text for stream, text in frames)


@given(frames_of_two)
def test_output_is_split_into_what_was_written(frames: list[tuple[int, bytes]]) -> None:
    assert list(split_frames(encode(frames))) == frames


@given(frames_of_two, st.data())
def test_output_that_is_cut_anywhere_counts_as_far_as_it_goes(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    raw = encode(frames)
    found = list(split_frames(raw[: data.draw(st.integers(0, len(raw)))]))

    for (stream, text), (wanted_stream, wanted) in zip(found, frames, strict=False):
        assert stream == wanted_stream
        assert wanted.startswith(text)
    assert found[:-1] == frames[: max(len(found) - 1, 0)]


@given(st.binary())
def test_garbage_is_split_without_an_end_or_an_error(raw: bytes) -> None:
    assert sum(len(text) for _, text in split_frames(raw)) <= len(raw)


@pytest.mark.parametrize(
    ("oldest", "spoken"),
    [("1.12", "1.41"), ("1.41", "1.41"), ("1.44", "1.44"), ("1.100", "1.100"), ("", "1.41"), ("x", "1.41")],
)
def test_the_oldest_version_that_has_everything_and_that_the_engine_speaks_is_spoken(oldest: str, spoken: str) -> None:
    assert api_version({"MinAPIVersion": oldest}) == spoken
    assert api_version({}) == "1.41"


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (404, "No such container: abc", ObjectNotFound),
        (500, "driver failed: Bind for 127.0.0.1:80 failed: port is already allocated", PortTaken),
        (500, "listen tcp4 127.0.0.1:80: bind: address already in use", PortTaken),
        pytest.param(500, f"{DESKTOP} address already in use", PortTaken, id="Docker Desktop on macOS"),
        pytest.param(500, f"{DESKTOP} {ONE_USAGE}", PortTaken, id="Docker Desktop on Windows"),
        pytest.param(500, f"{DESKTOP} {FORBIDDEN}", PortTaken, id="a range that Windows has set aside"),
        pytest.param(500, f"{DESKTOP} {IN_GERMAN}", PortTaken, id="Windows in another language"),
        pytest.param(500, GVPROXY.format(f"listen tcp 127.0.0.1:80: bind: {ONE_USAGE}"), PortTaken, id="gvproxy"),
        pytest.param(
            500, GVPROXY.format(f"listen tcp 127.0.0.1:80: bind: {IN_GERMAN}"), PortTaken, id="gvproxy, in German"
        ),
        pytest.param(500, GVPROXY.format("proxy already running"), PortTaken, id="gvproxy that has it itself"),
        pytest.param(
            500, "listen tcp4 127.0.0.9:80: bind: cannot assign requested address", EngineError, id="no address"
        ),
        pytest.param(500, "listen tcp4 127.0.0.1:80: bind: permission denied", EngineError, id="no right"),
        pytest.param(500, f"{DESKTOP} can't assign requested address", EngineError, id="no address on macOS"),
        (403, "Pool overlaps with other one on this address space", SubnetTaken),
        (500, "something else", EngineError),
    ],
)
def test_refusal_is_told_apart_by_what_the_engine_says(status: int, text: str, expected: type[EngineError]) -> None:
    error = refusal_error("it could not be done", status, text)

    assert type(error) is expected
    assert str(error) == f"it could not be done\n  found  {text}"


def test_a_container_may_share_the_network_of_another() -> None:
    request = ContainerRequest(name="x", image="x:1", labels={}, joined="c1", user="0:0", keeps_input=True)
    body = container_body(request)
    assert body["HostConfig"]["NetworkMode"] == "container:c1"
    assert "NetworkingConfig" not in body
    assert (body["User"], body["OpenStdin"]) == ("0:0", True)


def test_a_container_has_its_images_user_and_no_input_unless_it_is_asked_for() -> None:
    body = container_body(ContainerRequest(name="x", image="x:1", labels={}, network="n1", aliases=("x",)))
    assert body["HostConfig"]["NetworkMode"] == "n1"
    assert "User" not in body
    assert "OpenStdin" not in body


def test_a_pull_is_counted_over_all_its_layers() -> None:
    def line(status: str, layer: str = "", **detail: int) -> dict[str, object]:
        return {"status": status, "id": layer, "progressDetail": detail}

    count = PullCount()
    lines = [
        line("Pulling from library/x", "latest"),
        line("Pulling fs layer", "a"),
        line("Already exists", "known"),
        line("Downloading", "a", current=10, total=100),
        line("Downloading", "b", current=5, total=50),
        line("Download complete", "b"),
        line("Extracting", "b", current=1, total=50),
        line("Downloading", "a", current=99, total=100),
        line("Download complete", "a"),
        {"status": "Digest: sha256:1"},
    ]
    told = [count.add(one) for one in lines]

    assert [(t.done, t.total) for t in told] == [
        *[(0, 0)] * 3,
        (10, 100),
        (15, 150),
        (60, 150),
        (60, 150),
        (149, 150),
        (150, 150),
        (150, 150),
    ]
    assert [t.text for t in told] == ["pulling"] * 8 + ["unpacking"] * 2
    assert {t.unit for t in told} == {"bytes"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Step 2/7 : RUN make", Progress(text="RUN make", done=2, total=7, unit="steps")),
        ("Step 1/1 : FROM a\nRUN b", Progress(text="FROM a\nRUN b", done=1, total=1, unit="steps")),
        ("Sending build context", Progress(text="Sending build context")),
    ],
)
def test_a_step_of_a_build_says_how_many_there_are(line: str, expected: Progress) -> None:
    assert build_step(line) == expected


def test_log_lines_have_the_moment_of_their_first_piece() -> None:
    stamp = "2026-11-23T05:00:0{}.000000001Z"
    pieces = [(1, "1", "begin "), (2, "2", "other\r\n"), (1, "3", "end\n"), (1, "4", "no newline")]
    raw = encode([(stream, f"{stamp.format(n)} {text}".encode()) for stream, n, text in pieces])
    first = moment(stamp.format("0"))
    assert list(log_lines(raw[n : n + 7] for n in range(0, len(raw), 7))) == [
        LogLine(pytest.approx(first + 2), "other"),
        LogLine(pytest.approx(first + 1), "begin end"),
        LogLine(pytest.approx(first + 4), "no newline"),
    ]


def test_an_empty_line_is_a_line() -> None:
    assert [line.text for line in log_lines([encode([(1, b"2026-11-23T05:00:00Z \n")])])] == [""]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23T05:00:00Z", 1795410000),
        ("2026-11-23T05:00:00.25Z", 1795410000.25),
        ("2026-11-23T05:00:00.123456789Z", 1795410000.123456789),
        ("2026-11-23T06:30:00.5+01:30", 1795410000.5),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
    ],
)
def test_moments_are_seconds_of_the_epoch(text: str, seconds: float) -> None:
    assert moment(text) == seconds


def test_usage_leaves_out_what_the_kernel_takes_back_at_once() -> None:
    cpu = {"cpu_usage": {"total_usage": 2_500_000_000}}
    first = {"cpu_stats": cpu, "memory_stats": {"usage": 5000, "stats": {"total_inactive_file": 1000, "cache": 1}}}
    second = {"cpu_stats": cpu, "memory_stats": {"usage": 5000, "stats": {"inactive_file": 2000}}}
    assert container_usage(first) == ContainerUsage(memory_bytes=4000, cpu_s=2.5)
    assert container_usage(second) == ContainerUsage(memory_bytes=3000, cpu_s=2.5)
    assert container_usage({"cpu_stats": {}, "memory_stats": {}}) is None


def test_ports_are_published_by_their_protocol_and_read_back() -> None:
    bindings = (
        PortBinding(inner=53, host_ip="127.0.0.1", host_port=40001),
        PortBinding(inner=53, protocol="udp", host_ip="127.0.0.1", host_port=40002),
    )
    body = container_body(ContainerRequest(name="x", image="x:1", labels={}, ports=bindings))
    assert body["ExposedPorts"] == {"53/tcp": {}, "53/udp": {}}
    bound = body["HostConfig"]["PortBindings"]
    assert {port: outer[0]["HostPort"] for port, outer in bound.items()} == {"53/tcp": "40001", "53/udp": "40002"}
    state = container_state({"State": {"Running": True}, "NetworkSettings": {"Ports": {**bound, "99/udp": None}}})
    assert state.ports == {53: 40001, "53/udp": 40002}
