"""One container: its request, its record, its handle."""
