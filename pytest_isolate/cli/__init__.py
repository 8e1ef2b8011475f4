"""The programs of this package: the command `pytest-isolate`, and the guardian."""
