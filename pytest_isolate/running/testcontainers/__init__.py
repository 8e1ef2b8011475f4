"""Modules of testcontainers as services."""
