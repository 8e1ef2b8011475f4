"""Checks of `pytest-isolate doctor`."""
