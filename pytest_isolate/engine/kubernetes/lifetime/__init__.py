"""Owners of what a run makes in a cluster, and the Lease by which it is heard of: with them it goes."""
