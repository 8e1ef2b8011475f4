"""The agenda of deaths: work in the order of its time, none after the end."""

from __future__ import annotations

import queue
import threading

from pytest_isolate.engine.kubernetes.deaths import Agenda


def test_work_is_done_in_the_order_of_its_time() -> None:
    done: queue.Queue[str] = queue.Queue()
    agenda = Agenda()
    for pod, after_s in (("late", 0.4), ("soon", 0.2), ("now", 0.0)):
        agenda.put(done.put, pod, after_s=after_s)
    assert [done.get(timeout=30) for _ in range(3)] == ["now", "soon", "late"]
    agenda.close()


def test_work_that_waits_is_not_in_the_way_of_more() -> None:
    go, done = threading.Event(), queue.Queue[str]()
    agenda = Agenda()
    agenda.put(lambda _: go.wait(30), "slow")  # type: ignore[func-returns-value, arg-type, return-value]
    agenda.put(done.put, "next")
    assert done.get(timeout=30) == "next"
    go.set()
    agenda.close()


def test_nothing_begins_after_the_end() -> None:
    done: queue.Queue[str] = queue.Queue()
    agenda = Agenda()
    agenda.put(done.put, "later", after_s=60)
    agenda.close()
    agenda.close()
    agenda.put(done.put, "after")
    assert agenda.is_closed
    assert done.empty()
