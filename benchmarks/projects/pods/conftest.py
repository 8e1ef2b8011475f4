import os

from pytest_isolate import http, service, stack

SERVE = r"""
use strict; use IO::Socket::INET; $SIG{TERM} = sub { exit 0 };
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 64, ReuseAddr => 1) or die;
while (my $client = $server->accept) {
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    print $client "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"; close $client;
}
"""
# No registry tells what the image's program is, so it is declared in full.
page = service(image=os.environ["WEB_IMAGE"], entrypoint=["perl"], command=["-e", SERVE], port=8000, ready=http())
for number in range(int(os.environ["STACKS"])):
    front = service(page, needs=["back", "store"])
    globals()[f"stack_{number}"] = stack(front=front, back=page, store=page)
del front
