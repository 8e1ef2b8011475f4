"""DECIDE: pure functions, value in, value out. No clock, file, socket or environment is read here."""
