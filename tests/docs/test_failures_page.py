"""docs/failures.md shows what is printed."""

from __future__ import annotations

import re

import pytest

from docs.conftest import Project
from docs.pages import DOCS, read_blocks
from docs.test_errors_page import is_printed, plain

BLOCKS = read_blocks(DOCS / "failures.md")
SHOP = """
use IO::Socket::INET; $| = 1;
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
while (my $client = $server->accept) {
    my ($order) = <$client> =~ m{/order/(\\d+)};
    while (my $line = <$client>) { last if $line =~ /^\\r?$/ }
    print "order $order\\nno such article: $order\\n" if $order;
    print $client "HTTP/1.0 200 x\\r\\n\\r\\nsorry"; close $client;
}
"""


@pytest.mark.engine
@pytest.mark.usefixtures("real_engine")
def test_the_section_is_printed_as_shown(project: Project) -> None:
    (text,) = (block.text for block in BLOCKS if block.language == "text")
    project.write(block for block in BLOCKS if block.language == "python")
    (project.path / "shop.pl").write_text(SHOP)
    result = project.run()
    result.assert_outcomes(failed=1)
    output = re.sub(r"^-+ (isolate: .*?) -+$", r"\1", plain(result.stdout.str()), flags=re.MULTILINE)
    assert is_printed(text, output), f"shown:\n{text}\nprinted:\n{output}"
