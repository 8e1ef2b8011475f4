"""What a real engine tells while it pulls, and what the kernel knows of what containers have used."""

from __future__ import annotations

import re

import pytest

from engine.conftest import Project
from engine.registry import open_registry
from pytest_isolate.engine.api import Engine, Progress

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

SIZE = 6_000_000


def test_a_pull_counts_its_bytes_up_to_the_last(real_engine: Engine) -> None:
    told: list[Progress] = []
    with open_registry(SIZE, 1.0) as image:
        try:
            real_engine.pull_image(image, told.append)
        finally:
            real_engine.remove_image(image)
    counted = [(one.done, one.total) for one in told if one.total]
    assert len(set(counted)) > 3
    assert [done for done, _ in counted] == sorted(done for done, _ in counted)
    # What was random does not become smaller.
    assert {total for _, total in counted} == {counted[-1][0]}
    assert counted[-1][0] >= SIZE
    assert told[-1].text == "unpacking"


def test_the_table_tells_what_each_service_has_used_and_what_stands_out(project: Project) -> None:
    project.conftest(
        """
        eat = 'my $x = ""; vec($x, 92 << 20, 8) = 1; for (1 .. 3e6) { $n += $_ }'
        hungry = service(
            IMAGE,
            command=["perl", "-e", "$| = 1; " + eat + ' print "full", chr 10; sleep 1000'],
            memory="100m",
            ready=log("full"),
        )
        idle = service(IMAGE, command=forever())
        """
    )
    project.tests("def test_one(hungry, idle): pass\ndef test_two(idle): pass")
    shown = project.run("-v").stdout.str()
    table = [line for line in shown.splitlines() if re.match(r"  (service|hungry|idle) ", line)]
    rows = {line.split()[0]: line for line in table}
    assert re.search(r" 1 +\d\.\d s +1 +(9\d|100) of 100 MiB +\d\.\d\d s$", rows["hungry"]), table
    assert re.search(r" 1 +\d\.\d s +2 +\d+ of 2048 MiB +0\.\d\d s$", rows["idle"]), table
    assert not rows["hungry"].endswith(" 0.00 s")
    hint = r'^isolate: hungry came near its limit of memory \(9\d of 100 MiB\): memory="200m" gives it room$'
    assert re.search(hint, shown, re.MULTILINE)
    assert re.search(r"^isolate: services on Docker \S+ \(run \w+\), the slowest first$", shown, re.MULTILINE)
