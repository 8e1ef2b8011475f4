"""Fresh copies of data for each test, and resets."""
