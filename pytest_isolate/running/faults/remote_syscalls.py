"""System calls made inside a container, one by one, by a program of some hundred bytes that any image can run.

Rules for a container's network can only be set from within that network, and few images have the tools for it. So this
program is run beside it, with the right to do so. All that it knows is to carry out the calls that it reads from its
input, and to write what came of them: what to call, and why, is decided here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from pytest_isolate.engine.api import Session
from pytest_isolate.errors import EngineError
from pytest_isolate.model.service import File
from pytest_isolate.running.archive import build_archive

PATH = "/.pytest-isolate-calls"
# One request: the call's number, six arguments, and bytes that arguments may point to. One reply: the result (at first
# the address that the request is read to), and bytes that the call may have written.
REQUEST_BYTES = 1024
REPLY_BYTES = 256
_CALL = struct.Struct("<7Q")
_RESULT = struct.Struct("<q")
CONTENT_BYTES = REQUEST_BYTES - _CALL.size
RECEIVED_BYTES = REPLY_BYTES - _RESULT.size
_ANSWER_S = 10
_AT_ONCE = 0x40

# The program, by what ELF calls the machine; tests/unit/running/faults/test_remote_syscalls.py runs it. On x86-64:
#     sub  rsp, 0x600            room for a request (at rsp) and a reply (at rsp + 1024)
#     mov  rax, rsp
#   reply:
#     mov  [rsp+1024], rax       the result, then what the call wrote behind it
#     push 1; pop rax; mov edi, eax; lea rsi, [rsp+1024]; mov edx, 256; syscall          write(1, reply, 256)
#     xor  ebx, ebx
#   fill:
#     xor  eax, eax; xor edi, edi; lea rsi, [rsp+rbx]; mov edx, 1024; sub edx, ebx; syscall       read(0, ...)
#     test eax, eax; jle exit    the end of the input, or an error
#     add  ebx, eax; cmp ebx, 1024; jne fill
#     mov  rax, [rsp]; mov rdi, [rsp+8]; ... mov r9, [rsp+48]; syscall
#     jmp  reply
#   exit:
#     mov  eax, 60; xor edi, edi; syscall                                                exit(0)
_X86_64 = bytes.fromhex(
    "4881ec000600004889e048898424000400006a015889c7488db42400040000ba000100000f0531db31c031ff488d341cba0004000029da0f05"
    "85c07e3001c381fb0004000075e1488b0424488b7c2408488b742410488b5424184c8b5424204c8b4424284c8b4c24300f05eb9db83c000000"
    "31ff0f05"
)
# The same for arm64, with x19 in the place of ebx, and the call's number in x8.
_AARCH64 = bytes.fromhex(
    "ff0318d1e0030091e00302f9200080d2e1031091022080d2080880d2010000d4130080d2000080d2e163338b028080d2420013cbe80780d2"
    "010000d41f0000f14d0100547302008b7f0210f1c1feff54e80340a9e10b41a9e31342a9e51b40f9010000d4e9ffff17000080d2a80b80d2"
    "010000d4"
)


class Architecture(Struct, frozen=True, kw_only=True):
    """One kind of processor: its program, and the numbers of the calls that are made."""

    elf_number: int
    code: bytes
    calls: Mapping[str, int]


_CALLS = ("socket", "sendto", "recvfrom", "ppoll", "getpid")
MACHINES: Mapping[str, Architecture] = MappingProxyType(
    {
        "amd64": Architecture(
            elf_number=62,
            code=_X86_64,
            calls=MappingProxyType(dict(zip(_CALLS, (41, 44, 45, 271, 39), strict=True))),
        ),
        "arm64": Architecture(
            elf_number=183,
            code=_AARCH64,
            calls=MappingProxyType(dict(zip(_CALLS, (198, 206, 207, 73, 172), strict=True))),
        ),
    }
)


def build_program(machine: Architecture) -> bytes:
    """The program as an executable for Linux: the headers that ELF asks for, and the code behind them."""
    base, headers = 0x400000, 64 + 56
    size = headers + len(machine.code)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    head = struct.pack("<HHIQQQIHHHHHH", 2, machine.elf_number, 1, base + headers, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    return identity + head + segment + machine.code


def program_archive(machine: Architecture) -> bytes:
    """Return the program as the archive that an engine unpacks at the root of a container."""
    return build_archive([File(target=PATH, data=build_program(machine), mode=0o700)])


class Reply(Struct, frozen=True):
    """Result of a call (below 0: the negative number of an error), and what it wrote."""

    result: int
    content: bytes


class RemoteSyscalls:
    """The program that runs in a container, over the session that it was started in."""

    def __init__(self, session: Session, machine: Architecture) -> None:
        self._session = session
        self._numbers = machine.calls
        self._received = b""
        hello = self.receive(_ANSWER_S)
        if hello is None:
            raise EngineError("a program could not be run in a container", found=self._last_words())
        start = hello.result
        self.content_at = start + _CALL.size
        """The address of the bytes that go with a call."""
        self.received_at = start + REQUEST_BYTES + _RESULT.size
        """The address of the bytes that come back with its result."""

    def send(self, call: str, *arguments: int, content: bytes = b"") -> None:
        """Ask for a call; replies come in the order of the requests."""
        assert len(content) <= CONTENT_BYTES
        numbers = [self._numbers[call], *arguments, *[0] * (6 - len(arguments))]
        self._session.send((_CALL.pack(*numbers) + content).ljust(REQUEST_BYTES, b"\0"))

    def receive(self, timeout_s: float) -> Reply | None:
        """The next reply; None where the program has ended. EngineError when it takes longer than that."""
        while len(self._received) < REPLY_BYTES:
            piece = self._session.receive(timeout_s)
            if piece is None:
                return None
            self._received += piece[1]
        reply, self._received = self._received[:REPLY_BYTES], self._received[REPLY_BYTES:]
        return Reply(_RESULT.unpack_from(reply)[0], reply[_RESULT.size :])

    def ask(self, call: str, *arguments: int, content: bytes = b"") -> Reply:
        """Ask for a call and wait for what came of it."""
        self.send(call, *arguments, content=content)
        reply = self.receive(_ANSWER_S)
        if reply is None:
            raise EngineError("the program that changes a container's network ended", found=self._last_words())
        return reply

    def receive_now(self, socket_number: int) -> Reply:
        """Return what has come to a socket; an error where nothing has."""
        return self.ask("recvfrom", *self.receiving(socket_number))

    def receiving(self, socket_number: int) -> tuple[int, int, int, int]:
        """The arguments of recvfrom that wait for nothing."""
        return socket_number, self.received_at, RECEIVED_BYTES, _AT_ONCE

    def _last_words(self) -> str:
        return self._received.decode(errors="replace").strip() or "it said nothing"
