import urllib.request

SEEN = []


def test_that_fails_at_first(web, per_test):
    SEEN.append((web.container_id, per_test.container_id))
    assert urllib.request.urlopen(per_test.url, timeout=5).read() == b"hello"
    assert len(SEEN) == 3


def test_what_it_was_given():
    shared, own = zip(*SEEN, strict=True)
    assert len(set(shared)) == 1
    assert len(set(own)) == 3
