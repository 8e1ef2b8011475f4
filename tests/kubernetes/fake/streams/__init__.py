"""Requests that last: exec, attach, logs, port-forward."""
