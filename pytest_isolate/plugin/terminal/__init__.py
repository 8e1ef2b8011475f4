"""What the terminal and pytest's other outputs show."""
