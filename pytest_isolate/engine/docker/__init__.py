"""Docker and Podman, by the interface that both speak."""
