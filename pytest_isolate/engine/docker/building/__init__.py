"""Building images with BuildKit: the choice of a builder, and the session that serves one over the engine's API."""
