"""TALK to the container engine: one narrow protocol, and what speaks it."""
