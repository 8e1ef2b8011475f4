"""Eats all the memory, processes and processor time that it can get, for as long as it lives."""

import os
import signal
import sys


def eat_memory() -> None:
    """Take ever more in a process of its own, which the kernel kills at the limit."""
    child = os.fork()
    if child == 0:
        eaten = []
        while True:
            eaten.append(b"x" * 1024 * 1024)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        print("no more memory")
    else:
        sys.exit(f"stopped before the limit: {status}")


def eat_processes() -> list[int]:
    """Fork processes that are always busy, until there may be no more of them."""
    children = []
    while True:
        try:
            child = os.fork()
        except BlockingIOError:
            print("no more processes")
            return children
        if child == 0:
            eat_processor()
        children.append(child)


def give_back(children: list[int]) -> None:
    """End these processes: whoever looks inside the container needs room for a few."""
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def eat_processor() -> None:
    while True:
        pass


eat_memory()
give_back(eat_processes()[4:])
print("busy for ever")
eat_processor()
