"""Compose files as declarations."""
