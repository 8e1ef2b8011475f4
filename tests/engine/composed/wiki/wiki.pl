# A wiki over HTTP, and its database: pages are files, which only who knows the password may read and write.
use strict; use IO::Socket::INET;
$| = 1; $SIG{TERM} = sub { exit 0 };
my $folder = "/var/lib/db";
sub text { open my $file, "<", $_[0] or return ""; local $/; my $text = <$file> // ""; $text =~ s/\s+$//; return $text }
sub write_to { open my $file, ">", $_[0] or die "$_[0]: $!\n"; print $file $_[1]; close $file }
my $password = text("/run/secrets/db_password");
sub ask {
    my $sock = IO::Socket::INET->new(PeerAddr => $_[0], PeerPort => 3306, Timeout => 2) or return "no database";
    print $sock "$_[1]\n"; my $answer = <$sock> // ""; chomp $answer; return $answer;
}
sub db {
    my ($given, $verb, $page, $words) = split ' ', $_[0], 4;
    return "pong\n" if $given eq "ping";
    return "denied\n" if $given ne $password;
    if ($verb eq "SAVE") { $words =~ s/\s+$//; write_to("$folder/$page", $words) }
    return text("$folder/$page") . "\n";
}
sub wiki {
    my ($line, $client) = @_; while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
    my ($verb, $page, $words) = $line =~ m{^(\w+) /(\w+)(?:\?(\S+))?};
    my $body = ask($ENV{DB_HOST}, "$password " . ($verb eq "POST" ? "SAVE $page $words" : "LOAD $page"));
    return "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}
sub serve {
    my ($port, $answer) = @_;
    my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "bind: $!";
    while (1) { my $client = $server->accept or next; my $line = <$client> // next; print $client $answer->($line, $client) }
}
my $role = shift // "";
if ($role eq "ping") { print ask("localhost", "ping"), "\n" }
elsif ($role eq "wiki") { serve(8000, \&wiki) }
elsif ($role eq "db") {
    if (!-e "$folder/made") {
        for my $page (glob "/docker-entrypoint-initdb.d/*") { write_to("$folder/" . ($page =~ s{.*/}{}r), text($page)) }
        write_to("$folder/made", "yes");
    }
    serve(3306, \&db);
}
else { die "no such role: $role\n" }
