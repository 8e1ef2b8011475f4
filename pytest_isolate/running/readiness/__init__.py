"""Waiting until an instance is ready, or has exited."""
