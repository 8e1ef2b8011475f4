"""Whose an instance is: a run's, or a project's that keeps it."""
