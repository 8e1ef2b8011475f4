"""Everything pytest knows. The entry point is plugin.hooks; nothing is imported here."""
