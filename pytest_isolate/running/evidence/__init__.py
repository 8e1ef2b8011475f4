"""What is collected for the report of a failed test."""
