"""Runs that are killed at random moments, and what they leave behind: `python -m crash --help`, in the folder tests."""
