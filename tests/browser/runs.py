"""Records of runs with 5 and with 2,000 tests, as the processes of such runs write them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from zlib import crc32

from pytest_isolate.running.report.assemble import RunFacts
from pytest_isolate.running.report.records import (
    BecameReady,
    ContainerLog,
    Launched,
    RanTest,
    Record,
    Removed,
    TimelineSpan,
    UsageSample,
    Waited,
)

BEGAN = 1_800_000_000.0
MIB = 1024 * 1024
# Of the run of 2,000 tests.
LENGTH = 130.0
WORDS = ["GET /me 200", "POST /login 201", "checkpoint complete", "connected", "statement: SELECT 1", "slow query"]


def facts(title: str, ended: float) -> RunFacts:
    return RunFacts(title=title, run_id="3f9a1c07", engine="Docker 20.10.24", began=BEGAN, ended=BEGAN + ended)


def service(
    name: str,
    stack: str = "",
    *,
    at: float,
    ready: float | None,
    ended: float,
    worker: str = "",
    needs: tuple[str, ...] = (),
    lives_for: str = "the whole run",
    number: int = 0,
    by: str = "",
) -> Iterator[Record]:
    """What is recorded of a service's container, but its log."""
    container = f"{name}{stack}{worker}{number}".encode().hex().ljust(64, "0")
    code, thread = f"code-{stack}-{name}-{worker}-{number}", crc32(f"{name} {stack} {worker} {number}".encode())
    subject = f"{stack}.{name}" if stack else name
    at, answered = BEGAN + at, None if ready is None else BEGAN + ready
    begin = at - 0.12
    for what, began, end in (
        ("image", begin, begin + 0.02),
        ("dependencies", begin + 0.02, begin + 0.03),
        ("network", begin + 0.04, begin + 0.08),
        ("create", begin + 0.08, at + 0.25),
        ("ready", at + 0.25, answered or at + 9),
        ("start", begin + 0.04, (answered or at + 9) + 0.01),
    ):
        failed = answered is None and what in ("ready", "start")
        yield TimelineSpan(worker=by, what=what, subject=subject, began=began, ended=end, failed=failed, thread=thread)
    yield Launched(
        at=at,
        container=container,
        code=code,
        service=name,
        stack=stack,
        worker=worker,
        lives_for=lives_for,
        image="postgres:16" if name == "db" else f"registry.example/{name}:1.4",
        declared_at="tests/conftest.py:12",
        needs=needs,
        inside=f"{name}:{5432 if name == 'db' else 8000}",
        outside=f"127.0.0.1:{40000 + thread % 20000}",
        by=by,
        thread=thread,
    )
    if answered:
        yield BecameReady(at=answered, container=container)
    taken, steps = 0.0, max(2, min(120, int(ended - at + BEGAN)))
    for step in range(steps):
        taken += random.Random(f"{container}{step}").random() * 0.6
        memory = (30 + 8 * (step % 7)) * MIB if name == "db" else (12 + step % 3) * MIB
        moment = at + (BEGAN + ended - at) * (step + 1) / steps - 0.01
        yield UsageSample(at=moment, container=container, memory_bytes=memory, cpu_s=taken)
    if lives_for != "the whole run":
        yield Removed(at=BEGAN + ended, container=container)


def log(
    name: str,
    stack: str = "",
    worker: str = "",
    number: int = 0,
    *,
    lines: list[tuple[float, str]],
    ended: float = LENGTH,
) -> ContainerLog:
    container = f"{name}{stack}{worker}{number}".encode().hex().ljust(64, "0")
    return ContainerLog(at=BEGAN + ended, container=container, lines=[(BEGAN + at, text) for at, text in lines])


def small() -> tuple[RunFacts, list[Record]]:
    """Five tests in one process: two fail, one of them because its service never got ready."""
    records = [
        *service("db", at=0.2, ready=1.6, ended=16),
        *service("auth", "hr", at=1.7, ready=2.3, ended=16, needs=("code--db--0",)),
        *service("auth", "sales", at=1.7, ready=2.5, ended=16, needs=("code--db--0",)),
        *service("mail", at=0.25, ready=None, ended=9.5, lives_for="module tests/test_mail.py"),
    ]
    records.append(log("db", ended=16, lines=[(0.3 + n * 0.05, f"LOG:  {WORDS[n % 6]} #{n}") for n in range(280)]))
    records.append(
        log("auth", "hr", ended=16, lines=[(2 + n * 0.2, f"INFO {WORDS[n % 2]} from 10.189.0.{n}") for n in range(60)])
    )
    records.append(
        log(
            "auth",
            "sales",
            ended=16,
            lines=[(2.6, "INFO listening on 0.0.0.0:8000"), (3.4, "ERROR token of realm <hr> & refused")],
        )
    )
    records.append(
        log(
            "mail",
            ended=16,
            lines=[(0.6, "postfix: fatal: parameter inet_interfaces: no local interface found for ::1 " + "x" * 300)],
        )
    )
    hr, sales, db, mail = "code-hr-auth--0", "code-sales-auth--0", "code--db--0", "code--mail--0"
    records.append(
        Waited(worker="", test="tests/test_realms.py::test_login", what="hr", began=BEGAN + 0.6, ended=BEGAN + 2.3)
    )
    for test, began, ended, outcome, codes in (
        ("tests/test_realms.py::test_login", 0.6, 3.1, "passed", (hr, db)),
        (
            "tests/test_realms.py::test_token_of_one_realm_is_worth_nothing_in_the_other[head-office-and-sales]",
            3.1,
            3.9,
            "failed",
            (hr, sales, db),
        ),
        ("tests/test_realms.py::test_logout", 3.9, 5.0, "passed", (hr, db)),
        ("tests/test_mail.py::test_mail_is_sent", 5.0, 9.5, "error", (mail,)),
        ("tests/test_export.py::test_export", 9.5, 15.2, "skipped", (db,)),
    ):
        text = "assert 200 == 401\n +  where 200 = <Response [200 OK]>.status_code\n" if outcome != "passed" else ""
        bad = outcome in ("failed", "error")
        records.append(
            RanTest(
                worker="",
                test=test,
                began=BEGAN + began,
                ended=BEGAN + ended,
                outcome=outcome,
                codes=codes,
                text=text * 2 if bad else "",
            )
        )
    return facts("shop", 16), records


def big() -> tuple[RunFacts, list[Record]]:
    """2,000 tests in four workers: 12 fail. Stacks, a service for each worker, and one for each of 40 tests."""
    chance, records = random.Random(7), []
    records += service("db", at=0.3, ready=2.1, ended=LENGTH, by="gw0")
    for n, stack in enumerate(("hr", "sales", "legal", "research-and-development")):
        records += service("auth", stack, at=2.2, ready=3 + n / 5, ended=LENGTH, needs=("code--db--0",), by=f"gw{n}")
        records += service(
            "calendar", stack, at=2.2, ready=3.5 + n / 4, ended=LENGTH, needs=(f"code-{stack}-auth--0",), by="gw1"
        )
        for name in ("auth", "calendar"):
            lines = [(3 + i * 0.03, f"INFO request {i} {chance.choice(WORDS)} in {stack}") for i in range(4000)]
            records.append(log(name, stack, lines=lines))
    records.append(log("db", lines=[(1 + i * 0.004, f"LOG:  {chance.choice(WORDS)} {i:06}") for i in range(30_000)]))
    for worker in ("gw0", "gw1", "gw2", "gw3"):
        records += service(
            "cache", at=0.5, ready=1.0, ended=LENGTH, worker=worker, lives_for=f"worker {worker}", by=worker
        )
        records.append(log("cache", worker=worker, lines=[(1 + i, f"background save {i}") for i in range(120)]))
        at = 1.2
        for n in range(500):
            name = f"tests/test_area_{n // 25:02}.py::TestOrders::test_case_{n:03}[{worker}]"
            took = chance.uniform(0.05, 0.4)
            codes = ["code-hr-auth--0", "code--db--0", f"code--cache-{worker}-0"]
            if n % 50 == 0:
                number = n + int(worker[2])
                own = {"worker": worker, "number": number}
                records += service(
                    "scratch",
                    at=at,
                    ready=at + 0.3,
                    ended=at + took + 0.4,
                    lives_for=f"function {name}",
                    by=worker,
                    **own,
                )
                records.append(
                    log("scratch", worker, number=number, lines=[])
                    if n
                    else log("scratch", worker=worker, number=number, lines=[(at + 0.1, "ready")])
                )
                records.append(
                    Waited(worker=worker, test=name, what="scratch", began=BEGAN + at, ended=BEGAN + at + 0.3)
                )
                codes.append(f"code--scratch-{worker}-{number}")
                took += 0.3
            outcome = "failed" if n % 167 == 7 else "skipped" if n % 40 == 3 else "passed"
            text = f"AssertionError: needle-{worker}-{n}" if outcome == "failed" else ""
            records.append(
                RanTest(
                    worker=worker,
                    test=name,
                    began=BEGAN + at,
                    ended=BEGAN + at + took,
                    outcome=outcome,
                    codes=codes,
                    text=text,
                )
            )
            at += took + 0.005
    return facts("a-suite-with-2000-tests", LENGTH), records
