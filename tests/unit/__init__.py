"""Pure parts: plain values, a fake clock, a temporary folder; no engine and no waiting."""
