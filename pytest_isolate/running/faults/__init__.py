"""Faults on purpose: what is done to a running service for the length of a block, and undone at its end."""
