"""What a container may use and do, read from inside it."""

from __future__ import annotations

import re

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

# Numbers of the capabilities that a service keeps (linux/capability.h).
KEPT = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "SYS_CHROOT": 18,
}
NET_RAW, SYS_ADMIN = 13, 21

READ = """
def first(service, *paths):
    for path in paths:
        found = service.exec("cat", path)
        if found.exit_code == 0:
            return found.stdout.split()
    raise AssertionError(f"none of {paths}")

def memory(service):
    return first(service, "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")[0]

def pids(service):
    return first(service, "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")[0]

def cpus(service):
    found = service.exec("cat", "/sys/fs/cgroup/cpu.max")
    if found.exit_code == 0:
        quota, period = found.stdout.split()
    else:
        quota, = first(service, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period, = first(service, "/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return None if quota in ("max", "-1") else int(quota) / int(period)

def shared_memory(service):
    blocks, size = service.exec("stat", "-f", "-c", "%b %S", "/dev/shm", check=True).stdout.split()
    return int(blocks) * int(size)

def status(service, key):
    lines = service.exec("cat", "/proc/1/status", check=True).stdout.splitlines()
    return next(line.split()[1] for line in lines if line.startswith(key + ":"))
"""


def test_limits_hold_inside(project: Project) -> None:
    project.conftest(
        """
        limited = service(IMAGE, command=forever(), memory="48m", cpus=0.25, pids=12, shm_size="8m")
        default = service(IMAGE, command=forever())
        unlimited = service(IMAGE, command=forever(), memory="unlimited", pids="unlimited")
        """
    )
    project.tests(
        READ,
        """
        def test_limited(limited):
            assert memory(limited) == str(48 * 1024**2)
            assert cpus(limited) == 0.25
            assert pids(limited) == "12"
            assert shared_memory(limited) == 8 * 1024**2

        def test_processes_end_at_the_limit(limited):
            found = limited.exec("perl", "-e", "for (1..40) { defined(fork) or exit 9; } sleep 1")
            assert found.exit_code == 9

        def test_default(default):
            assert memory(default) == str(2048 * 1024**2)
            assert pids(default) == "1024"
            assert cpus(default) is None

        def test_unlimited(unlimited):
            assert memory(unlimited) == "max" or int(memory(unlimited)) > 2**60
            assert pids(unlimited) == "max"
        """,
    )
    project.run().assert_outcomes(passed=4)


def test_memory_is_no_way_around_through_swap(project: Project) -> None:
    project.conftest("eater = service(IMAGE, command=program('sleep 0.3', 'eat'), memory='24m', ready=log('never'))")
    project.tests("def test_it(eater): pass")
    result = project.run()
    result.assert_outcomes(errors=1)
    assert "container exited with code 137, out of memory" in result.stdout.str()
    assert "give it more memory" in result.stdout.str()


def test_capabilities_are_dropped_but_for_a_few_and_privileges_cannot_grow(project: Project) -> None:
    mask = sum(1 << number for number in KEPT.values())
    project.conftest(
        """
        default = service(IMAGE, command=forever())
        raw = service(IMAGE, command=forever(), cap_add=["NET_RAW"], new_privileges=True)
        admin = service(IMAGE, command=forever(), cap_add=["CAP_SYS_ADMIN"])
        """
    )
    project.tests(
        READ,
        f"""
        def test_default(default):
            assert int(status(default, "CapBnd"), 16) == {mask}
            assert int(status(default, "CapEff"), 16) == {mask}
            assert status(default, "NoNewPrivs") == "1"

        def test_added(raw):
            assert int(status(raw, "CapBnd"), 16) == {mask | 1 << NET_RAW}
            assert status(raw, "NoNewPrivs") == "0"

        def test_admin(admin):
            assert int(status(admin, "CapBnd"), 16) == {mask | 1 << SYS_ADMIN}
            assert status(admin, "NoNewPrivs") == "1"
        """,
    )
    project.run().assert_outcomes(passed=3)


def test_random_password_is_new_in_each_run_and_never_shown_when_runs_fail(project: Project) -> None:
    """Printed by the service itself, by a neighbour that is given it, and by a probe's answer."""
    project.conftest(
        """
        db = service(postgres(), image=IMAGE, command=program("serve 5432"), ready=tcp())
        shows = service(IMAGE, command=program("getenv URL", "exit 1"), env={"URL": "{db.url}"}, ready=log("never"))
        asks = service(db, command=program("getenv POSTGRES_PASSWORD", "serve 5432"), timeout=1,
                       ready=command("sh", "-c", "echo $POSTGRES_PASSWORD; false"))
        """
    )
    project.tests(
        """
        from pathlib import Path

        def test_db(db):
            Path("password").write_text(db.password)
            assert db.port == 0, "fails on purpose"

        def test_shows(shows): pass

        def test_asks(asks): pass
        """
    )
    seen = set()
    for _ in range(2):
        result = project.run("--showlocals", "-vv", "--isolate-no-cache")
        result.assert_outcomes(failed=1, errors=2)
        text, password = result.stdout.str(), (project.path / "password").read_text()
        assert "ended before it was ready" in text
        assert "was not ready after" in text
        assert password not in text
        assert not re.search(r"postgres:[0-9a-f]{32}@", text)
        assert not re.search(r"\b[0-9a-f]{32}\b", text)
        seen.add(password)
    assert len(seen) == 2
