"""Messages of protocol buffers: written and read again, and bytes that are told in their documentation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.engine.docker.building.protobuf import bytes_in, decode, encode, messages_in, number_in, text_in


def test_the_examples_of_the_documentation() -> None:
    assert encode((1, 150)) == bytes.fromhex("089601")
    assert encode((2, "testing")) == bytes.fromhex("120774657374696e67")
    assert encode((3, [encode((1, 150))])) == bytes.fromhex("1a03089601")
    assert encode((1, -2)) == bytes.fromhex("08feffffffffffffffff01")


def test_what_is_zero_or_empty_is_left_out_but_an_empty_message_is_not() -> None:
    assert encode((1, 0), (2, ""), (3, b""), (4, [])) == b""
    assert encode((1, [b""])) == b"\x0a\x00"
    fields = decode(b"")
    assert (number_in(fields, 1), text_in(fields, 2), bytes_in(fields, 3), messages_in(fields, 4)) == (0, "", b"", [])


@given(number=st.integers(0, 2**64 - 1), text=st.text(), content=st.binary(), field=st.integers(1, 1 << 20))
def test_what_is_written_is_read_again(number: int, text: str, content: bytes, field: int) -> None:
    inner = encode((field, number), (field + 1, text), (field + 2, content))
    (found,) = messages_in(decode(encode((field, [inner]))), field)
    assert (number_in(found, field), text_in(found, field + 1), bytes_in(found, field + 2)) == (number, text, content)


def test_fields_that_are_not_known_are_passed_over() -> None:
    fixed = b"\x0d\x01\x02\x03\x04" + b"\x11" + bytes(8) + encode((3, 7))
    assert number_in(decode(fixed), 3) == 7


@pytest.mark.parametrize(
    "message", [b"\x08", b"\x08\xff", b"\x12\x05abc", b"\x0d\x01", b"\x0b", b"\x08" + b"\xff" * 11]
)
def test_a_message_that_is_cut_off_or_wrong_is_an_error(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|a field of kind"):
        decode(message)
