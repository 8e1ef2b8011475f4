# A shop: `store` keeps values and a queue, `seed` fills it, `web` takes orders, `worker` carries them out.
use strict; use IO::Socket::INET;
$| = 1; $SIG{TERM} = sub { exit 0 };
sub ask {
    my ($host, $port, $line) = @_;
    my $sock = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 2) or return;
    print $sock "$line\n"; my $answer = <$sock>; chomp $answer if defined $answer; return $answer;
}
sub serve {
    my ($port, $answer) = @_;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "bind: $!";
    while (1) { my $client = $server->accept or next; my $line = <$client> // next; print $client $answer->($line, $client) }
}
my (%value, @queue);
sub store {
    my ($verb, $key, $rest) = split ' ', $_[0], 3;
    if ($verb eq "SET") { $value{$key} = $rest =~ s/\s+$//r }
    elsif ($verb eq "ADD") { $value{$key}++ }
    elsif ($verb eq "PUSH") { push @queue, $key }
    elsif ($verb eq "POP") { return (shift(@queue) // "") . "\n" }
    return ($value{$key} // "") . "\n";
}
sub cache { ask(split(/:/, $ENV{CACHE}), @_) }
sub queue { ask(split(/:/, $ENV{QUEUE}), @_) }
sub page {
    my ($line, $client) = @_; while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
    my ($path) = $line =~ /^\w+ (\S+)/; my $body = "nothing here";
    if ($path =~ m{^/order/(\w+)}) { queue("PUSH $1"); $body = cache("ADD orders") }
    elsif ($path eq "/done") { $body = cache("GET done") }
    elsif ($path eq "/") { $body = "$ENV{GREETING} $ENV{CURRENCY} " . cache("GET stock") }
    elsif ($path eq "/key") { open my $file, "<", "/run/secrets/api_key" or die; $body = <$file> }
    return "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}
my $role = shift // "";
if ($role eq "store") { serve(6379, \&store) }
elsif ($role eq "web") { serve(8000, \&page) }
elsif ($role eq "seed") { cache("SET stock 12 cups") // die "no cache\n" }
elsif ($role eq "ask") { defined ask($ARGV[0], 6379, $ARGV[1]) or exit 1 }
elsif ($role eq "worker") { while (1) { (queue("POP") // "") ne "" ? cache("ADD done") : select undef, undef, undef, 0.05 } }
else { die "no such role: $role\n" }
