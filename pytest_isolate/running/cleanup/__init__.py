"""Removal of everything that a run has created, also when its process has died."""
