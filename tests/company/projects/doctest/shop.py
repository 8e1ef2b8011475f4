import urllib.request


def greet(url):
    """What the service says.

    >>> greet(getfixture("web").url)
    'hello'
    """
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def add(a, b):
    """A sum.

    >>> add(1, 2)
    3
    """
    return a + b
