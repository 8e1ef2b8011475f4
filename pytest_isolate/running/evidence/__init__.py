"""State and log of the services that a failed test used, for its report."""
