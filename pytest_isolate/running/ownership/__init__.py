"""The owner of an instance: a run, or a project that keeps it."""
