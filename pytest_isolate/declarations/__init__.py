"""From what users wrote to checked services, stacks and copies."""
