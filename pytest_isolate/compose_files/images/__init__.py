"""Images of the services of a Compose file: built here, or known."""
