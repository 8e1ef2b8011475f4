import os

from pytest_isolate import log, service, tcp

LINES = os.environ["LINES"]
# Lines of 100 bytes, a thousand at once, then a server that greets.
PROGRAM = r"""
use strict; use IO::Socket::INET;
$SIG{TERM} = sub { exit 0 };
my $text = ("x" x 99 . "\n") x 1000;
$| = 1; print $text for 1 .. $ENV{LINES} / 1000;
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 8, ReuseAddr => 1) or die;
print "now it is ready\n";
while (my $client = $server->accept) { print $client "hello\n"; close $client }
"""

loud = service(
    image="debian:bookworm-slim",
    command=["perl", "-e", PROGRAM],
    port=8000,
    env={"LINES": LINES},
    ready=log("now it is ready") if os.environ["PROBE"] == "log" else tcp(),
    timeout="300s",
)
