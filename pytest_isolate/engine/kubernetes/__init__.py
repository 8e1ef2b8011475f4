"""Kubernetes as a container engine: the only folder that knows its API."""
