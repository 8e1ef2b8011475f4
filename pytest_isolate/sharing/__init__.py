"""AGREE between processes of this host."""
