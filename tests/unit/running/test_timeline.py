"""What happened, when; and the time itself."""

from __future__ import annotations

import threading

import pytest

from pytest_isolate.engine.api import Progress
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.timeline import Path, Span, Timeline, UnderWay, trace_starts
from unit.builders import FakeClock


def test_a_span_is_recorded_with_its_begin_and_end(clock: FakeClock) -> None:
    timeline = Timeline(clock)

    with timeline.measure("image", "db"):
        clock.seconds += 2.5

    here = threading.get_ident()
    assert timeline.spans == (Span(what="image", subject="db", began=1000.0, ended=1002.5, thread=here),)
    assert timeline.spans[0].seconds == 2.5


def test_what_fails_is_recorded_too(clock: FakeClock) -> None:
    timeline = Timeline(clock)

    def fail() -> None:
        with timeline.measure("ready", "db"):
            clock.seconds += 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert timeline.spans[0].seconds == 1


def test_spans_come_in_the_order_in_which_they_ended(clock: FakeClock) -> None:
    timeline = Timeline(clock)

    with timeline.measure("ready", "outer"), timeline.measure("ready", "inner"):
        pass

    assert [span.subject for span in timeline.spans] == ["inner", "outer"]


def test_spans_of_all_threads_are_kept(clock: FakeClock) -> None:
    timeline = Timeline(clock)

    def measure(number: int) -> None:
        with timeline.measure("ready", str(number)):
            pass

    threads = [threading.Thread(target=measure, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(int(span.subject) for span in timeline.spans) == list(range(20))


def test_what_was_read_does_not_change_any_more(clock: FakeClock) -> None:
    timeline = Timeline(clock)
    before = timeline.spans

    with timeline.measure("ready", "db"):
        pass

    assert before == ()


def test_the_machines_clock_does_not_go_back() -> None:
    clock = SystemClock()

    assert clock.now() <= clock.now()
    assert clock.time() > 1_700_000_000


@pytest.mark.parametrize("is_set", [True, False])
def test_waiting_says_whether_the_event_came(is_set: bool) -> None:
    event = threading.Event()
    if is_set:
        event.set()

    assert SystemClock().wait(event, 0.001) is is_set


def span(what: str, began: float, ended: float, subject: str = "db", *, thread: int = 1, failed: bool = False) -> Span:
    return Span(what=what, subject=subject, began=began, ended=ended, thread=thread, failed=failed)


def test_a_start_is_told_with_its_parts_from_when_it_was_asked_for() -> None:
    spans = [
        span("image", 1, 1.5),
        span("image", 1, 4, "auth", thread=2),
        span("create", 2, 3),
        span("ready", 3, 6),
        span("start", 2, 6),
        span("start", 4, 5, "auth", thread=2, failed=True),
        span("ready", 6.5, 6.75, thread=3),
        span("start", 6.25, 7, thread=3),
    ]

    assert trace_starts(spans) == [
        Path(subject="db", seconds=5, parts={"ready": 3, "create": 1, "image": 0.5}),
        Path(subject="db", seconds=0.75, parts={"ready": 0.25}),
    ]


def test_a_later_start_in_a_thread_of_the_same_number_stands_for_itself() -> None:
    spans = [span("ready", 1, 3), span("start", 1, 3), span("image", 4, 5), span("ready", 5, 6), span("start", 5, 6)]

    assert [path.seconds for path in trace_starts(spans)] == [2, 2]


def test_what_goes_on_is_the_innermost_of_each_thread_with_what_it_has_told(clock: FakeClock) -> None:
    timeline, told = Timeline(clock), Progress(text="asks tcp: refused")
    both, done = threading.Barrier(2), threading.Event()

    def pull() -> None:
        with timeline.measure("image", "web"):
            timeline.on_progress(Progress(text="pulling"))
            both.wait()
            done.wait()

    thread = threading.Thread(target=pull)
    with timeline.measure("start", "db"):
        clock.seconds += 1
        thread.start()
        both.wait()
        with timeline.measure("ready", "db"):
            timeline.on_progress(told)
            clock.seconds += 2
            found = timeline.under_way()
    done.set()
    thread.join()

    assert set(found) == {
        UnderWay(what="image", subject="web", seconds=2, progress=Progress(text="pulling")),
        UnderWay(what="ready", subject="db", seconds=2, progress=told),
    }
    assert timeline.under_way() == ()


def test_what_a_thread_tells_that_works_for_another_is_told_of_that(clock: FakeClock) -> None:
    timeline, told = Timeline(clock), Progress(text="pulling")

    def pull(waiting: int) -> None:
        with timeline.working_for(waiting):
            timeline.on_progress(told)

    with timeline.measure("image", "db"):
        thread = threading.Thread(target=pull, args=(threading.get_ident(),))
        thread.start()
        thread.join()
        assert [one.progress for one in timeline.under_way()] == [told]


def test_what_was_told_of_one_thing_is_not_told_of_the_next(clock: FakeClock) -> None:
    timeline = Timeline(clock)
    with timeline.measure("start", "db"):
        with timeline.measure("image", "db"):
            timeline.on_progress(Progress(text="pulling"))
        assert [one.progress for one in timeline.under_way()] == [None]
        with timeline.measure("ready", "db"):
            assert [(one.what, one.progress) for one in timeline.under_way()] == [("ready", None)]
