"""Ready-made services, a module each: the value, its probe, its defaults. A conftest.py imports those that it names."""
