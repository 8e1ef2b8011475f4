"""Which process starts which instance, and when it ends."""
