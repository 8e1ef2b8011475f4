"""What `pytest-isolate doctor` checks."""
