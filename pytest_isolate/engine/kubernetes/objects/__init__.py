"""Objects of a cluster as plain values: what is made, what is refused, what answers mean. Pure."""
