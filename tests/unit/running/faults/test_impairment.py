"""What a slow network does to packets."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.errors import IsolateError
from pytest_isolate.running.faults.impairment import Impairment, LinkModel, parse_impairment


def parse(latency: object = 0, jitter: object = 0, loss: object = 0, rate: object = None) -> Impairment:
    return parse_impairment(latency, jitter, loss, rate)


@pytest.mark.parametrize(
    ("value", "seconds"), [(0.25, 0.25), (2, 2.0), ("100ms", 0.1), ("1.5s", 1.5), ("250 us", 0.00025), (" 1S ", 1.0)]
)
def test_durations_are_seconds_or_texts_with_a_unit(value: object, seconds: float) -> None:
    assert parse(latency=value).latency_s == pytest.approx(seconds)
    assert parse(latency=10, jitter=value).jitter_s == pytest.approx(seconds)


@pytest.mark.parametrize(("value", "fraction"), [(0.05, 0.05), (1, 1.0), ("5%", 0.05), ("0.1 %", 0.001), ("100%", 1.0)])
def test_a_loss_is_a_fraction_or_percent(value: object, fraction: float) -> None:
    assert parse(loss=value).loss == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("value", "bits"), [("1mbit", 1e6), ("512kbit", 512e3), ("9600bit", 9600), ("2.5 Gbit/s", 2.5e9)]
)
def test_a_rate_is_a_text_with_its_unit(value: str, bits: float) -> None:
    assert parse(rate=value).rate_bits == bits


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("latency", "fast", "seconds from 0, or a text such as '100ms' or '1.5s'"),
        ("latency", "100", "seconds from 0, or a text such as '100ms' or '1.5s'"),
        ("latency", -1, "seconds from 0"),
        ("latency", float("nan"), "seconds from 0"),
        ("latency", True, "seconds from 0"),
        ("jitter", None, "seconds from 0"),
        ("loss", 5, "a fraction from 0 to 1, or a text such as '5%'"),
        ("loss", "120%", "a fraction from 0 to 1"),
        ("loss", "0.5", "a fraction from 0 to 1"),
        ("rate", 1000, "a text such as '512kbit' or '1mbit'"),
        ("rate", "1MB", "a text such as '512kbit' or '1mbit'"),
        ("rate", "0mbit", "a text such as '512kbit' or '1mbit'"),
    ],
)
def test_a_wrong_value_is_answered_with_the_valid_ones(name: str, value: object, valid: str) -> None:
    with pytest.raises(IsolateError) as caught:
        parse(**{name: value})
    assert str(caught.value).startswith(f"slow({name}={value!r}) cannot be understood\n  valid  {valid}")


def test_to_be_slow_by_nothing_is_an_error() -> None:
    with pytest.raises(IsolateError) as caught:
        parse()
    assert str(caught.value) == "slow() was given nothing to slow down by\n  do     slow(latency='100ms')"


def test_no_packet_arrives_before_it_is_sent() -> None:
    with pytest.raises(IsolateError) as caught:
        parse(latency="10ms", jitter="20ms")
    assert str(caught.value) == (
        "jitter='20ms' is more than latency='10ms'\n"
        "  found  a packet would have to arrive before it is sent\n"
        "  do     latency is the mean: each packet takes from latency - jitter to latency + jitter"
    )


def test_latency_is_added_to_each_packet() -> None:
    course = LinkModel(Impairment(latency_s=0.5), Random(1))
    assert [course.leave_at(now, 100) for now in (10.0, 10.1, 20.0)] == [10.5, 10.6, 20.5]


def test_a_rate_holds_up_what_comes_behind() -> None:
    course = LinkModel(Impairment(rate_bits=8000), Random(1))
    assert [course.leave_at(0, 1000), course.leave_at(0, 500), course.leave_at(0.1, 500)] == [1.0, 1.5, 2.0]
    assert course.leave_at(10, 1000) == 11


def test_of_many_packets_as_many_are_lost_as_was_asked_for() -> None:
    course = LinkModel(Impairment(loss=0.2), Random(1))
    lost = sum(course.leave_at(0, 100) is None for _ in range(10_000))
    assert 1900 < lost < 2100


@pytest.mark.parametrize(("loss", "is_lost"), [(1.0, True), (0.0, False)])
def test_all_or_nothing(loss: float, is_lost: bool) -> None:
    course = LinkModel(Impairment(loss=loss), Random(1))
    assert {course.leave_at(0, 1) is None for _ in range(1000)} == {is_lost}


@given(
    sends=st.lists(st.floats(0, 10), min_size=1, max_size=50),
    latency=st.floats(0, 2),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_packets_stay_in_their_order_and_arrive_about_when_they_should(
    sends: list[float], latency: float, share: float, seed: int
) -> None:
    course = LinkModel(Impairment(latency_s=latency, jitter_s=latency * share), Random(seed))
    arrivals = [(now, course.leave_at(now, 100)) for now in sorted(sends)]
    times = [arrives for _, arrives in arrivals]
    assert times == sorted(times)
    assert all(arrives >= now + latency * (1 - share) - 1e-9 for now, arrives in arrivals)
    assert all(arrives <= now + latency * (1 + share) + 1e-9 for now, arrives in arrivals)
