"""Ports of UDP: published like those of TCP, in Python and in Compose files, and the same after a restart."""

from __future__ import annotations

import pytest
from fakes.programs import IMAGE

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

# Answers each datagram, and each connection, with what it is called.
ECHO = """
use strict; use IO::Socket::INET;
my ($port, $name) = @ARGV;
if (!fork) {
    my $tcp = IO::Socket::INET->new(LocalPort => $port, Listen => 9, ReuseAddr => 1) or die "tcp: $!";
    while (my $client = $tcp->accept) { print $client "tcp $name\\n"; close $client }
}
my $udp = IO::Socket::INET->new(LocalPort => $port, Proto => "udp") or die "udp: $!";
while (1) { my $from = $udp->recv(my $asked, 999); $udp->send("udp $name, $asked", 0, $from) }
"""
DECLARED = f"""
ECHO = {ECHO!r}
echo = service(IMAGE, command=["perl", "-e", ECHO, "8125", "alone"], ports=["8125/udp"])
"""
ASK = """
import socket

def ask(service, port="8125/udp"):
    # A program that has just been started may not listen yet, and nothing says so: a datagram is lost.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        for _ in range(60):
            sock.sendto(b"hello", (service.host, service.port_of(port)))
            try:
                return sock.recv(99).decode()
            except OSError:
                pass

def read(service):
    with socket.create_connection((service.host, service.port), timeout=60) as sock:
        return sock.recv(99).decode()
"""


def test_a_port_of_udp_answers_at_the_same_address_after_a_restart(project: Project) -> None:
    project.conftest(DECLARED)
    project.tests(
        ASK,
        """
        def test_it(echo):
            before = echo.port_of("8125/udp")
            assert ask(echo) == "udp alone, hello"
            echo.restart()
            assert echo.port_of("8125/udp") == before
            assert ask(echo) == "udp alone, hello"
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_workers_share_it_and_a_later_run_finds_it(project: Project) -> None:
    project.env["XDG_CACHE_HOME"] = str(project.path / "cache")
    project.conftest(DECLARED)
    project.tests(
        ASK,
        """
        import pathlib

        @pytest.mark.parametrize("n", range(4))
        def test_it(echo, n):
            assert ask(echo) == "udp alone, hello"
            with pathlib.Path("seen").open("a") as file: file.write(f"{echo.port_of('8125/udp')}\\n")
        """,
    )
    for _ in range(2):
        project.run("-n2", "--isolate-reuse").assert_outcomes(passed=4)
    kept = {line.split()[1] for line in project.objects() if line.startswith("container ")}
    assert len(kept) == 1
    project.left.remove(project.objects())
    assert len(set((project.path / "seen").read_text().split())) == 1


@pytest.mark.parametrize("ports", ["held", "native"])
def test_one_number_may_be_of_both_protocols(project: Project, ports: str) -> None:
    project.conftest(
        f"""
        ECHO = {ECHO!r}
        echo = service(IMAGE, command=["perl", "-e", ECHO, "8125", "both"], ports=[8125, "8125/udp"])
        one = stack(echo=echo, ports={ports!r})
        other = stack(echo=service(echo, command=["perl", "-e", ECHO, "8125", "other"]), ports={ports!r})
        """
    )
    project.tests(
        ASK,
        f"""
        def test_it(one, other):
            assert (read(one.echo), ask(one.echo)) == ("tcp both\\n", "udp both, hello")
            assert (read(other.echo), ask(other.echo)) == ("tcp other\\n", "udp other, hello")
            assert (one.echo.port_of("8125/udp") == 8125) == {ports == "native"}
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_a_port_of_udp_of_a_compose_file_is_published(project: Project) -> None:
    script = ECHO.replace("$", "$$")
    lines = "\n".join(f"        {line}" for line in script.splitlines())
    project.write(
        "compose.yaml",
        "services:\n"
        f"  stats:\n    image: {IMAGE}\n    ports: ['8125:8125/udp']\n"
        f"    command:\n      - perl\n      - -e\n      - |\n{lines}\n      - '8125'\n      - composed\n",
    )
    project.conftest('shop = compose("compose.yaml")')
    project.tests(ASK, 'def test_it(shop): assert ask(shop.stats) == "udp composed, hello"')
    project.run().assert_outcomes(passed=1)
