"""Resets of the services that a test has used, after its tear-down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from pytest_isolate.errors import ResetError
from pytest_isolate.model.service import ResetFunction, ServiceId
from pytest_isolate.planning.placement import Instance, InstanceKey, Place
from pytest_isolate.planning.reset_order import order_resets
from pytest_isolate.plugin.run.wiring import Wired
from pytest_isolate.running.containers.running import RunningInstance

_PARALLEL_RESETS = 4


class Resets:
    """The services that the test which runs now has asked for, and what became of them after those before it."""

    def __init__(self, before_giving_up: Callable[[], None]) -> None:
        self._before_giving_up = before_giving_up
        # By name and base id of the fixture that hands them out.
        self._used: dict[tuple[str, str], tuple[ServiceId, ...]] = {}
        self._replaced: Counter[ServiceId] = Counter()
        self.untold: list[str] = []
        """Failed resets of a test whose tear-down had failed already: its report has to tell them."""

    def note(self, fixture: tuple[str, str], services: Iterable[ServiceId]) -> None:
        """Note that the test is given these services by a fixture: asked for by itself, or by one of any scope."""
        self._used[fixture] = tuple(services)

    def drop(self, fixture: tuple[str, str]) -> None:
        """Forget what the test would have been given by a fixture that could not be made: there is nothing to clean."""
        self._used.pop(fixture, None)

    def replacements(self, services: Iterable[ServiceId]) -> tuple[int, ...]:
        """The number of times that each was given up and replaced: values made with the old one are of no use."""
        return tuple(self._replaced[service] for service in services)

    @contextmanager
    def behind(
        self,
        item: pytest.Item,
        place: Callable[[Iterable[ServiceId]], Sequence[Instance]],
        wired: Wired | None,
        ended: frozenset[Place],
    ) -> Iterator[None]:
        """Reset, behind the tear-down of a test, what it has used and what does not end with it. May fail it."""
        used, self._used, self.untold = self._used, {}, []

        def reset_all() -> list[str]:
            if wired is None:
                return []
            services = dict.fromkeys(service for given in used.values() for service in given)
            return self._reset_all(item, [i for i in place(services) if i.key.place not in ended], wired)

        try:
            yield
        except pytest.exit.Exception:
            raise
        except Exception:
            # A tear-down that fails has used the services all the same; its own error is the one that is raised.
            self.untold = reset_all()
            raise
        failed = reset_all()
        if failed:
            pytest.fail("\n".join(failed), pytrace=False)

    def _reset_all(self, item: pytest.Item, instances: Sequence[Instance], wired: Wired) -> list[str]:
        failed = []
        for group in order_resets(instances):
            ready = {running.instance.key: running for running in wired.lifecycle.reachable()}
            jobs = [(instance, ready[instance.key]) for instance in group if instance.key in ready]
            failed += [text for text in self._reset_group(item, jobs, wired) if text]
        return failed

    def _reset_group(
        self, item: pytest.Item, jobs: Sequence[tuple[Instance, RunningInstance]], wired: Wired
    ) -> Iterable[str]:
        """All at once; but the user's functions one after the other, in the thread that runs the test."""

        def reset(job: tuple[Instance, RunningInstance]) -> str:
            return self._reset(item, *job, wired)

        own = [job for job in jobs if isinstance(job[0].spec.reset, ResetFunction)]
        others = [job for job in jobs if job not in own]
        if len(others) < 2:
            return [*map(reset, others), *map(reset, own)]
        with ThreadPoolExecutor(_PARALLEL_RESETS, "isolate-reset") as pool:
            texts = pool.map(reset, others)
            return [*map(reset, own), *texts]

    def _reset(self, item: pytest.Item, instance: Instance, running: RunningInstance, wired: Wired) -> str:
        """The error, empty without one; after an error the instance is not used again."""
        assert instance.spec.reset
        try:
            wired.resetter.reset(instance.spec.reset, running, wired.lifecycle.handle_of(running), item.nodeid)
        except ResetError as error:
            self._give_up(instance.key, wired)
            return str(error)
        except BaseException:  # such as pytest.exit() in the user's function, or a time-out of another plugin
            self._give_up(instance.key, wired)
            raise
        return ""

    def _give_up(self, key: InstanceKey, wired: Wired) -> None:
        self._before_giving_up()
        gone = wired.lifecycle.discard(key)
        wired.resetter.forget(gone)
        wired.fresh_copies.forget(gone)
        self._replaced.update(k.service for k in gone)
