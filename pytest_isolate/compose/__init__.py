"""Compose files as stacks: read, filled in, merged, translated. What touches the host is handed in."""
