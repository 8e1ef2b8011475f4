"""Programs for containers, in a language of one-line steps that both engines understand.

`program("say hello", "serve 8000 text")` is a command line for Perl, which the base image of Debian has. A real engine
runs it; the fake one reads its steps. So every test says once what its containers do.

    say TEXT, err TEXT        write a line to stdout, to stderr
    sleep SECONDS             wait
    exit CODE                 end
    stubborn                  take no notice of a request to stop
    eat                       allocate memory without end
    write PATH TEXT           put a line into a file
    once PATH                 unless the file is there, write the line "made" to stdout and make it, with its folder
    read PATH                 write a file to stdout
    getenv NAME               write an environment variable to stdout
    fetch HOST PORT [PATH]    write what an HTTP server answers to stdout; end with code 1 when none answers
    serve PORT [TEXT]         answer HTTP from here on: / with TEXT, /env/NAME, /status/CODE,
                              /fetch/HOST/PORT, /say/WORD, which writes the word to stdout first
    greet PORT TEXT           answer TCP from here on with a line
    mute PORT                 accept TCP from here on, and stay silent

A program that serves, greets or is mute goes on for ever, any other one ends with its last step.
"""

from __future__ import annotations

IMAGE = "debian:bookworm-slim"

_PERL = r"""
use strict; use IO::Socket::INET;
$| = 1; $SIG{TERM} = sub { exit 0 }; my $serves = 0;
sub fetch {
    my ($host, $port, $path) = @_;
    my $sock = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 2) or return;
    print $sock "GET " . ($path // "/") . " HTTP/1.0\r\n\r\n";
    local $/; my $answer = <$sock>; $answer =~ s/^.*?\r\n\r\n//s; return $answer;
}
sub reply {
    my ($path, $text) = @_;
    return (200, $ENV{$1} // "") if $path =~ m{^/env/(\w+)};
    if ($path =~ m{^/say/(\S+)}) { print "$1\n"; return (200, "said") }
    return ($1, "status $1") if $path =~ m{^/status/(\d+)};
    if ($path =~ m{^/fetch/([^/]+)/(\d+)}) {
        my $answer = fetch($1, $2); return defined $answer ? (200, $answer) : (502, "no answer from $1:$2");
    }
    return (200, $text);
}
sub answer {
    my ($kind, $client, $text) = @_;
    $SIG{ALRM} = sub { exit 0 }; alarm 30;
    if ($kind eq "greet") { print $client "$text\n"; <$client>; return }
    if ($kind eq "mute") { <$client>; return }
    my $first = <$client> // return; while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    my ($path) = $first =~ /^\w+ (\S+)/; my ($status, $body) = reply($path, $text);
    print $client "HTTP/1.0 $status x\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}
sub listen_on {
    my ($kind, $port, $text) = @_;
    $serves = 1; my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "bind: $!";
    return if fork; $SIG{TERM} = "DEFAULT"; $SIG{CHLD} = "IGNORE";
    while (1) {
        my $client = $server->accept or next;
        if (!fork) { close $server; answer($kind, $client, $text); exit 0 }
        close $client;
    }
}
for (@ARGV) {
    my ($verb, $rest) = split / /, $_, 2; $rest //= "";
    my ($first, $second) = split / /, $rest, 2;
    if ($verb eq "say") { print "$rest\n" }
    elsif ($verb eq "err") { print STDERR "$rest\n" }
    elsif ($verb eq "sleep") { select undef, undef, undef, $rest }
    elsif ($verb eq "exit") { exit $rest }
    elsif ($verb eq "stubborn") { $SIG{TERM} = "IGNORE" }
    elsif ($verb eq "eat") { my @all; while (1) { push @all, "x" x 1_000_000 . @all } }
    elsif ($verb eq "write") { open my $f, ">", $first or die "$first: $!"; print $f "$second\n"; close $f }
    elsif ($verb eq "once") {
        next if -e $first; print "made\n"; my ($folder) = $first =~ m{^(.*)/}; system "mkdir", "-p", $folder;
        open my $f, ">", $first or die "$first: $!"; print $f "made\n"; close $f;
    }
    elsif ($verb eq "read") { open my $f, "<", $first or die "$first: $!\n"; print <$f> }
    elsif ($verb eq "getenv") { print "$ENV{$first}\n" }
    elsif ($verb eq "fetch") {
        my $answer = fetch(split / /, $rest);
        if (!defined $answer) { print STDERR "no answer\n"; exit 1 }
        print "$answer\n";
    }
    elsif ($verb =~ /^(serve|greet|mute)$/) { listen_on($verb, $first, $second // "") }
    else { die "no such step: $verb\n" }
}
while ($serves) { sleep 3600 }
"""
_PREFIX = ("perl", "-e", _PERL)


def program(*steps: str) -> list[str]:
    """The command line that carries out these steps."""
    return [*_PREFIX, *steps]


def read_steps(argv: list[str]) -> list[str] | None:
    """The steps of a command line that program() made; None for any other."""
    return argv[len(_PREFIX) :] if tuple(argv[: len(_PREFIX)]) == _PREFIX else None


def forever() -> list[str]:
    """A container that does nothing until it is ended."""
    return program("sleep 86400")
