# A monitoring set: each `exporter` counts, the `collector` asks them again and again, the `dashboard` asks the collector.
use strict; use IO::Socket::INET;
$| = 1; $SIG{TERM} = sub { exit 0 };
sub get {
    my ($host, $port, $path) = @_;
    my $sock = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 2) or return "";
    print $sock "GET $path HTTP/1.0\r\n\r\n"; local $/; my $answer = <$sock> // ""; $answer =~ s/^.*?\r\n\r\n//s;
    return $answer;
}
sub serve {
    my ($port, $answer) = @_;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "bind: $!";
    while (1) {
        my $client = $server->accept or next; my $line = <$client> // next;
        while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
        my ($path) = $line =~ /^\w+ (\S+)/; my $body = $answer->($path);
        print $client "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    }
}
sub text { open my $file, "<", $_[0] or die "$_[0]: $!\n"; local $/; return <$file> }
sub collect {
    while (1) {
        for (split /\n/, text("/etc/collector/targets.conf")) {
            my ($host, $port) = /^(\S+) (\d+)$/ or next;
            open my $file, ">", "/collected/$host.new" or die "$!"; print $file get($host, $port, "/metrics"); close $file;
            rename "/collected/$host.new", "/collected/$host";
        }
        select undef, undef, undef, 0.05;
    }
}
my ($role, $count) = (shift // "", 0);
if ($role eq "exporter") { serve(9100, sub { $_[0] eq "/metrics" ? text("/etc/hostname") =~ s{\s}{}gr . " " . ++$count : "" }) }
elsif ($role eq "collector") {
    text("/etc/collector/rules.conf") =~ /above/ or die "no rules\n";
    if (!fork) { $SIG{TERM} = "DEFAULT"; collect() }
    serve(9090, sub { my ($name) = $_[0] =~ m{^/query/(.+)}; -e "/collected/$name" ? text("/collected/$name") : "" });
}
elsif ($role eq "dashboard") {
    serve(3000, sub { "$ENV{TITLE}: " . join ", ", map { get("prometheus", 9090, "/query/$_") } "node-exporter", "app-exporter" });
}
else { die "no such role: $role\n" }
