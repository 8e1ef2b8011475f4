"""The plugin's part in each test."""
