"""A run of pytest: opened, wired, shared with xdist's workers, ended."""
