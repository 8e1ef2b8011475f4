"""Frames of WebSockets and of SPDY: wherever the bytes are cut, and whatever they are."""

from __future__ import annotations

import struct
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.transport.frames_of_websocket import Frame, FrameReader, build_frame
from pytest_isolate.engine.kubernetes.transport.spdy import Received, SpdyClient, WasReset
from pytest_isolate.errors import EngineUnreachable

from .served import Request, Served, ServedSocket

SIZES = [0, 1, 125, 126, 65_535, 65_536]


def served_frame(content: bytes) -> bytes:
    head = build_frame(2, len(content))[:-4]  # without the mask's key, and the bit that announces it
    return bytes([head[0], head[1] & 0x7F]) + head[2:] + content


def cut(content: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted({place % (len(content) + 1) for place in places}), len(content)]
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.sampled_from(SIZES), max_size=4), st.lists(st.integers(0), max_size=6))
def test_frames_are_the_same_wherever_they_are_cut(sizes: list[int], places: list[int]) -> None:
    contents = [bytes([number]) * size for number, size in enumerate(sizes)]
    reader = FrameReader()
    stream = b"".join(map(served_frame, contents))
    found = [frame for piece in cut(stream, places) for frame in reader.feed(piece)]
    assert found == [Frame(2, True, content) for content in contents]


@pytest.mark.parametrize(
    "wrong",
    [b"\xc2\x00", b"\x82\x80aaaa", b"\x82\x7f" + struct.pack(">Q", 1 << 40)],
    ids=["a bit that was not agreed on", "a mask", "a size beyond all"],
)
def test_what_no_server_sends_ends_the_line(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="a frame"):
        list(FrameReader().feed(wrong))

    def serve(request: Request) -> None:
        line = ServedSocket(request, "v5.channel.k8s.io")
        line.send(b"\x01some")
        request.sock.sendall(wrong)
        while line.receive() is not None:
            pass

    with Served(lambda _: serve) as server, closing(ClusterClient(Cluster(server=server.address), {})) as client:
        stream = client.open_exec("pod", "main", ["cat"], stdin=True)
        assert stream.receive(20) == (1, b"some")
        with pytest.raises(EngineUnreachable, match="a frame"):
            stream.receive(20)


@given(st.binary(max_size=400), st.lists(st.integers(0), max_size=4))
def test_noise_is_no_frame_or_an_error_and_nothing_else(noise: bytes, places: list[int]) -> None:
    reader, spdy = FrameReader(), SpdyClient()
    for piece in cut(noise, places):
        list(spdy.feed(piece))
    try:
        for piece in cut(noise, places):
            list(reader.feed(piece))
    except ValueError:
        pass


@given(st.lists(st.integers(0, 1000), max_size=5), st.lists(st.integers(0), max_size=6))
def test_events_are_the_same_wherever_they_are_cut(sizes: list[int], places: list[int]) -> None:
    stream = b"".join(struct.pack(">II", 3, size) + b"x" * size for size in sizes)
    stream += struct.pack(">IIII", 0x80030003, 8, 5, 5) + struct.pack(">II", 7, 1 << 24)
    spdy = SpdyClient()
    found = [event for piece in cut(stream, places) for event in spdy.feed(piece)]
    expected = [Received(3, b"x" * size, False) for size in sizes]
    assert found == [*expected, WasReset(5), Received(7, b"", True)]
