"""What stands in for the world in tests: a container engine in memory, and programs that it and real ones can run."""
