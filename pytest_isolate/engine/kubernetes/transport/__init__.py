"""Connections to an API server: requests, and the lines both ways that exec and port-forward are."""
