"""Compose files read by Docker Compose and by this plugin, and where the two differ.

`python -m compose_corpus FOLDER...`, run from tests/, compares all Compose files below folders.
"""
