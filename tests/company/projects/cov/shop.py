import urllib.request


def greet(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def never():
    return "not covered"
