"""Calls that the engine makes over HTTP/2: an engine is played by the client side of the same library."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived, WindowUpdated

from pytest_isolate.engine.docker.building.filesync import Folders
from pytest_isolate.engine.docker.building.grpc import NOT_FOUND, CallFailed, GrpcServer, Metadata, Open, Unary
from pytest_isolate.engine.docker.building.services import HEALTH, build_services


def frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


class Caller:
    """An engine that calls; `window` is how much it takes before it has to say that it takes more."""

    def __init__(self, methods: Mapping[str, Open]) -> None:
        self.server = GrpcServer(methods)
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self.answers: dict[int, bytes] = {}
        self.status: dict[int, str] = {}
        self.ended: set[int] = set()
        self.gives_room = True
        self._take(self.server.begin())
        self.exchange()

    def call(self, path: str, *pieces: bytes, ends: bool = True, **metadata: str) -> int:
        number = self._h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        self._h2.send_headers(number, [*head, *((name.replace("_", "-"), value) for name, value in metadata.items())])
        for piece in pieces[:-1]:
            self._h2.send_data(number, piece)
            self.exchange()
        if pieces:
            self._h2.send_data(number, pieces[-1], end_stream=ends)
        self.exchange()
        return number

    def say(self, number: int, message: bytes) -> None:
        self._h2.send_data(number, frame(message))
        self.exchange()

    def exchange(self) -> None:
        while going := self._h2.data_to_send():
            self._take(self.server.receive(going))

    def messages(self, number: int) -> list[bytes]:
        found, data = [], self.answers.get(number, b"")
        while data:
            (size,) = struct.unpack_from(">I", data, 1)
            found.append(data[5 : 5 + size])
            data = data[5 + size :]
        return found

    def _take(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            match event:
                case DataReceived(stream_id=number, data=piece):
                    self.answers[number] = self.answers.get(number, b"") + piece
                    if self.gives_room:
                        self._h2.acknowledge_received_data(event.flow_controlled_length, number)
                case (
                    TrailersReceived(stream_id=number, headers=headers)
                    | ResponseReceived(stream_id=number, headers=headers)
                ):
                    self.status[number] = dict(headers).get("grpc-status", "")
                case StreamEnded(stream_id=number) | StreamReset(stream_id=number):
                    self.ended.add(number)
                case WindowUpdated():
                    pass

    def give_room(self, number: int, size: int) -> None:
        self._h2.increment_flow_control_window(size)
        self._h2.increment_flow_control_window(size, number)
        self.exchange()


class Echo:
    """Answers each message, many times if it says so, until it is told to stop."""

    def __init__(self, metadata: Metadata) -> None:
        self.is_over = False
        self._metadata = metadata

    def begin(self) -> Iterable[bytes]:
        return [self._metadata.get("say", ("",))[0].encode()]

    def receive(self, message: bytes) -> Iterable[bytes]:
        self.is_over = message == b"stop"
        return (b"x" * 10_000 for _ in range(30)) if message == b"much" else [message]

    def end(self) -> Iterable[bytes]:
        self.is_over = True
        return [b"end"]


def refuse(message: bytes) -> bytes:
    raise CallFailed(NOT_FOUND, f"no {message.decode()}, as “said”")


METHODS: dict[str, Open] = {
    "/echo": Echo,
    "/upper": lambda _: Unary(bytes.upper),
    "/refuse": lambda _: Unary(refuse),
}


def test_a_call_of_one_message_is_answered_with_one() -> None:
    caller = Caller(METHODS)
    number = caller.call("/upper", frame(b"word"))
    assert (caller.messages(number), caller.status[number]) == ([b"WORD"], "0")
    assert number in caller.ended


def test_a_message_may_come_in_pieces_and_several_in_one() -> None:
    caller = Caller(METHODS)
    whole = frame(b"one") + frame(b"two") + frame(b"stop")
    number = caller.call("/echo", whole[:3], whole[3:9], whole[9:], say="hello")
    assert caller.messages(number) == [b"hello", b"one", b"two", b"stop"]
    assert caller.status[number] == "0"


def test_a_call_goes_on_until_it_is_over_and_others_beside_it() -> None:
    caller = Caller(METHODS)
    first = caller.call("/echo", ends=False, say="a")
    second = caller.call("/echo", ends=False, say="b")
    caller.say(first, b"1")
    caller.say(second, b"2")
    assert (caller.messages(first), caller.messages(second)) == ([b"a", b"1"], [b"b", b"2"])
    assert not caller.ended
    caller.say(first, b"stop")
    assert caller.ended == {first}


def test_an_error_has_its_code_and_an_unknown_method_is_one() -> None:
    caller = Caller(METHODS)
    refused, unknown = caller.call("/refuse", frame(b"x")), caller.call("/nothing", frame(b"x"))
    assert (caller.status[refused], caller.status[unknown]) == ("5", "12")
    assert caller.messages(refused) == []
    assert caller.messages(caller.call("/upper", frame(b"on"))) == [b"ON"]


def test_no_more_is_sent_than_there_is_room_for_and_the_rest_when_there_is() -> None:
    caller = Caller(METHODS)
    caller.gives_room = False
    number = caller.call("/echo", frame(b"much"), say="")
    assert len(caller.answers[number]) == 65_535
    assert number not in caller.ended
    caller.give_room(number, 1 << 20)
    assert len(caller.messages(number)) == 32
    assert caller.status[number] == "0"


def test_bytes_that_are_no_http_end_it() -> None:
    server = GrpcServer(METHODS)
    server.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert server.is_over


def test_a_sign_of_life_is_given() -> None:
    caller = Caller({**build_services(Folders(context=Path(), dockerfile=()), {}, lambda _: {})})
    assert caller.messages(caller.call(HEALTH, frame(b""))) == [b"\x08\x01"]
