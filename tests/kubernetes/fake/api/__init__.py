"""The API server: resources, rights, admission."""
