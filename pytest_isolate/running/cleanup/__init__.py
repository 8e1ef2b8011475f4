"""Removing what a run has made, also when its process has died."""
