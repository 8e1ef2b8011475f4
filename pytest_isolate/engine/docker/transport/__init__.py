"""HTTP to an engine: over a socket, TLS or ssh."""
