"""Containers of testcontainers as services: their settings, waits and methods are theirs, the rest is ours."""
