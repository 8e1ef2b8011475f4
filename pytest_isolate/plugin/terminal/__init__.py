"""The terminal, and pytest's other outputs."""
