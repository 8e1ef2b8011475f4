"""Numbers that the pages tell are those of the code: a sentence for each, made of the constants."""

from __future__ import annotations

import pytest

from docs.pages import DOCS
from pytest_isolate import user_files
from pytest_isolate.cli import env_file
from pytest_isolate.compose_files import health, reader
from pytest_isolate.engine import api
from pytest_isolate.engine.docker import pull_errors
from pytest_isolate.engine.kubernetes import cluster_engine, deaths, pods, relay
from pytest_isolate.model import service
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import MIB, ServiceSpec
from pytest_isolate.plugin import options
from pytest_isolate.plugin.items import phases
from pytest_isolate.plugin.terminal import display, painter, summary, waits
from pytest_isolate.running.containers import security
from pytest_isolate.running.evidence import collect, render
from pytest_isolate.running.images import build_digest, snapshots
from pytest_isolate.running.instances import budget, external, lifecycle, retained
from pytest_isolate.running.ownership import retention
from pytest_isolate.running.readiness import loop, port_questions, restarts, watcher
from pytest_isolate.running.report import assemble, recorder
from pytest_isolate.running.testcontainers import adapted

WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 10: "ten"}
GIB = 1024 * MIB
SPEC = ServiceSpec(name="x", location=Location(file=""))
TELLS = waits._TOLD_FROM_S


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("declaring", f"must run for {watcher._SETTLE_S:g} s, or end with code 0"),
        ("declaring", f"`\"1m30s\"` | `{SPEC.timeout_s:g}` |"),
        ("declaring", f"on top of it | `\"{security.DEFAULT_MEMORY_BYTES // GIB}g\"` |"),
        ("declaring", f"or `\"unlimited\"` | `{SPEC.pids}` |"),
        ("compose", f"{security.DEFAULT_MEMORY_BYTES // GIB} GiB of memory"),
        ("compose", f"when it has run for {watcher._SETTLE_S:g} s or has exited with code 0"),
        ("compose", f"and at least {health._LEAST_S:g} seconds"),
        ("compose", f"Each further port gets {port_questions.FURTHER_PORTS_S:g} seconds"),
        ("compose", f"of at most {user_files.MOST_TEXT_BYTES // MIB} MiB, with at most {reader._MAX_PARTS:,} parts"),
        ("compose", f"started again after {restarts._FIRST_PAUSE_S:g} s, {2 * restarts._FIRST_PAUSE_S:g} s and so on"),
        ("compose", f"and at most {restarts.MOST_RESTARTS} times"),
        ("command", f"larger than {env_file._MOST_BYTES // MIB} MiB"),
        ("failures", f"waits twice {collect.LATE_S:g} s"),
        ("failures", f"After {collect._PATIENCE_S:g} s of such waits"),
        ("failures", f"first and last {render.MOST_LINES // 2} lines"),
        ("how-it-works", f"first every {1000 * loop._FIRST_PAUSE_S:g} ms,"),
        ("how-it-works", f"later every {1000 * loop._LONGEST_PAUSE_S:g} ms"),
        ("how-it-works", f"(every {1000 * loop._LONGEST_DEAR_PAUSE_S:g} ms"),
        ("how-it-works", f"{WORDS[api.PARALLEL_STARTS].capitalize()} containers are created at a time"),
        ("how-it-works", f"services of the next {WORDS[phases._AHEAD]} tests"),
        ("kubernetes", f"at most {lifecycle._MOST_STARTING} threads start services"),
        ("kubernetes", f"{cluster_engine._PARALLEL_STARTS} Pods are being made at a"),
        ("kubernetes", f"{deaths.MOST_LINES} Pods ring when their program ends"),
        ("kubernetes", f"with more than {relay._MANY_TUNNELS} tunnels"),
        ("kubernetes", f"after {pods._PAUSES_S[0]} s and at last every {pods._PAUSES_S[-1]} s"),
        ("keep", f"at most {retained.MAX_RETAINED} failed tests keep"),
        ("keep", f"or for {retention.KEPT_S / 3600:g} hours"),
        ("options", f"{budget._SHARE_OF_MEMORY:.0%} of the memory of the engine's machine".replace("%", " %")),
        ("options", f"| up to {WORDS[painter._MOST_ITEMS]} services | after {TELLS[0]:g} s |"),
        ("options", f"| one line | after {TELLS[-1]:g} s |"),
        ("options", f"| as many as fit | after {TELLS[1]:g} s,"),
        ("options", f"took {summary._LONG_IMAGE_S:g} s or longer"),
        ("options", f"took {summary._LONG_READY_S:g} s or longer, and most of its start"),
        ("options", f"took {summary._LONG_FOR_ONE_TEST_S:g} s or longer for a single test"),
        ("builds", f"more than {build_digest._MOST_BYTES // MIB} MiB or {build_digest._MOST_FILES} files"),
        ("registries", f"tried {WORDS[pull_errors.TRIES]} times, within"),
        ("report", f"at most {recorder.MOST_LOG_CHARACTERS // 1024} KiB of each log"),
        ("report", f"{assemble.MOST_PAGE_CHARACTERS // MIB} MiB of all logs together"),
        ("running-services", f"does not answer within {external.MOST_S:g} seconds"),
        ("sharing", f"or with {service._ASSUMED_BYTES // MIB} MiB without one"),
        ("sharing", f"waits for {WORDS[int(budget._DEADLINE_S / 60)]} minutes without any change"),
        ("snapshots", f"| largest folder | {snapshots.MOST_BYTES // GIB} GiB;"),
        ("snapshots", f"the {snapshots.KEPT} most recently used snapshots"),
        ("snapshots", f"within the last {WORDS[snapshots.KEPT_DAYS // 7]} weeks, {snapshots.KEPT_BYTES // GIB} GiB"),
        ("snapshots", f"A folder may hold {options.DEFAULT_IN_MEMORY_BYTES // GIB} GiB"),
        ("testcontainers", f"checks {WORDS[round(1 / adapted._PAUSE_S)]} times a second"),
    ],
)  # fmt: skip
def test_a_number_is_that_of_the_code(page: str, sentence: str) -> None:
    text = " ".join((DOCS / f"{page}.md").read_text(encoding="utf-8").split())
    assert sentence in text


def test_half_a_second_is_what_passes_before_waits_are_shown() -> None:
    assert display._SHOWN_FROM_S == 0.5
    assert "waited for half a second" in (DOCS / "options.md").read_text(encoding="utf-8")
